"""How a detector is made, and made better by what it heard."""
