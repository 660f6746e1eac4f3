"""Audio to log-mel features."""
