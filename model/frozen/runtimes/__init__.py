"""Engines that run the frozen graphs, behind one protocol."""
