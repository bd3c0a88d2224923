"""Heads: from features to a task's raw answer."""
