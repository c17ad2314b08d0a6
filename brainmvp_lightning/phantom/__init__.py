"""Synthetic multi-contrast brain MRI made from real anatomy."""
