"""Where metrics and pictures go: files of the run folder, TensorBoard, Weights & Biases."""
