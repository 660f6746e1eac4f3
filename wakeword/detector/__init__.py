"""A model on a stream: scores, and hits."""
