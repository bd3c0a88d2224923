"""One run: its rows, its journal, its report, and the parts of a larger run."""
