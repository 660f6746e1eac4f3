"""How well a phrase suits detection."""
