"""Painters: each returns one picture and all of its true answers."""
