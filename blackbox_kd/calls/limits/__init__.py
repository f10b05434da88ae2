"""Flow control of an endpoint: how many calls at once, how many a minute, and when to pause."""
