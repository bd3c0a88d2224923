"""Painters: each returns one picture and everything that is true of it."""
