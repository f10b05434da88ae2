"""Rows in and out: sources, readers of files, formats of rows, sampling, and tables on disk."""
