"""Converts published checkpoints to weights of this project."""
