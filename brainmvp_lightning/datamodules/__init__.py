"""LightningDataModules: from the cache to batches."""
