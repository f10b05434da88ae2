"""Recorded runs: the replies that a recipe got once, and the rows that it made of them. See `replay` and `record`."""
