"""From NIfTI files to the cache, once."""
