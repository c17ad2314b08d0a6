"""Networks that turn an image into a pyramid of features."""
