"""The training loop, its parts, and the runs that use it."""
