"""Weights in this process, shared by asking and training."""
