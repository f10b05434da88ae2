"""Calls that are handed in together: from the queue to the results, with records on disk."""
