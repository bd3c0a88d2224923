"""Runtimes: libraries that run the frozen graphs, behind one protocol."""
