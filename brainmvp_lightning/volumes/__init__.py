"""How volumes are stored: NIfTI files and the cache."""
