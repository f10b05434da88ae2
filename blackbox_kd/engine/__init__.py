"""Runs a recipe: stages, loops, the calls of steps, training; and says beforehand what it will cost."""
