"""From a run folder to weights that inference.py runs."""
