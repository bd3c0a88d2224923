"""Measurements behind the numbers in the documents. `python -m bench --help` lists them."""
