"""Measurements whose numbers stand in the documents. `python -m bench --help` lists them."""
