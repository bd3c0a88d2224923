"""Choices made on the dev rows."""
