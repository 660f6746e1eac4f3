"""The verbs of the `wakeword` command."""
