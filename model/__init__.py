"""Networks (torch, for training) and the frozen runtime (no torch, for the container). Neither imports the other."""
