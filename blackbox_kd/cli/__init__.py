"""The command line: one module a command. Data goes to stdout, all else to stderr."""
