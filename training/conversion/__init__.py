"""Published checkpoints as weights of this project."""
