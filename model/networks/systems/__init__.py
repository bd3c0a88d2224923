"""One file per system. Systems do not import each other."""
