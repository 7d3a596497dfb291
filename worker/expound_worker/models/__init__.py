"""Models: their entries, sources, preprocessing and cards."""
