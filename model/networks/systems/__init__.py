"""One file per published system. Systems do not import each other."""
