"""What a recipe is checked for before anything runs: the chain of its steps, its columns, models, loops, reports."""
