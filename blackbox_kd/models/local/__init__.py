"""How a model in this process writes: rows come and go at each token, each decided by its own request alone."""
