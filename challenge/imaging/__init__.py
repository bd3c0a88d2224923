"""Image files: decoded, resized to the network's grid, and back to native pixels."""
