"""How the acoustic models are made: data, teacher, one loop."""
