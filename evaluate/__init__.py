"""Official and strict scores, submission checks, galleries and reports. Reads folders, knows no network."""
