"""Pre-training and fine-tuning on grouped multi-parametric brain MRI."""

__version__ = "0.1.0"
