"""The training loop, and the runs that use it."""
