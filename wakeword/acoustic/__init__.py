"""The acoustic model: features to what is said, and its alphabet."""
