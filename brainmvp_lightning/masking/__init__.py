"""Strategies that decide which voxels of an image are hidden."""
