"""What the container runs: frozen graphs, no torch."""
