"""Fuzz targets for code that reads untrusted bytes: manifests, paths and images."""
