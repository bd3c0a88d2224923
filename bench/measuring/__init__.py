"""What all measurements share: time, memory, and a description of the machine."""
