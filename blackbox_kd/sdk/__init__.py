"""What the author of a step imports."""
