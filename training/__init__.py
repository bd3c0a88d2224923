"""The local stage that produces the weights. Never in the container."""
