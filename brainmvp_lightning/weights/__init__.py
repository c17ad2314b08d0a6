"""Checkpoints in, weights out."""
