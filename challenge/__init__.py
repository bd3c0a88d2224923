"""The challenge contract: tasks, manifests, paths, images, geometry, predictions and their files. No torch."""
