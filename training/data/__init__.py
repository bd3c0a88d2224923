"""Rows of a data folder, as batches."""
