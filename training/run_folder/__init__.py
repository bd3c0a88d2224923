"""The folder of a run: its checkpoints, logs and records."""
