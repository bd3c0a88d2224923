"""Checks whether a submission is valid, and packs it."""
