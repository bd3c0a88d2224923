"""Scores on the dev rows, and choices by them."""
