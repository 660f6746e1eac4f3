"""A trained model as a file: its format, its description, its thresholds, and what runs it."""
