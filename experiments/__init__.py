"""What the recipes did on real weights: the reports of their runs, and the tables of EXPERIMENTS.md made of them."""
