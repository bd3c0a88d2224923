"""Dense decoders: feature pyramids that give one map at stride 4."""
