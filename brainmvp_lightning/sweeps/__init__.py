"""Sweeps: many trainings with other values each, from files that wandb reads too."""
