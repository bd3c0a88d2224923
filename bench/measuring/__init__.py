"""How long, how much memory, on which machine: what every measurement here uses."""
