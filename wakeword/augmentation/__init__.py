"""What happens to sound on its way: rooms, noise, channels, speed, level."""
