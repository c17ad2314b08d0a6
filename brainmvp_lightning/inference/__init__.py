"""Fine-tuned networks on whole studies, and their answers on the grids of the files."""
