"""Inference as the container runs it: exported graphs, no torch."""
