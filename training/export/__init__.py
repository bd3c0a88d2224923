"""From a run to the frozen weights."""
