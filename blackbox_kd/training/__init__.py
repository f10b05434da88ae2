"""Training stages: each a program of its own, started in its own process."""
