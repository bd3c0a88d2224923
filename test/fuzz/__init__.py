"""Fuzz targets for what reads other people's bytes: manifests, paths and images."""
