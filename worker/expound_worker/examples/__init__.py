"""Examples: models that are trained here, and served by a worker."""
