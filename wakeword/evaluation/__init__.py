"""How good a model is: streams, misses, false alarms, thresholds."""
