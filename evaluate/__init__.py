"""Official and strict scores, submission checks, galleries and reports. Reads folders; runs no network."""
