"""The new layers on the acoustic model, which hear the phrases."""
