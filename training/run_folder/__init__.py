"""Everything that knows the folder of a run."""
