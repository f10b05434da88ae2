"""YAML -> Recipe: every problem at once, each with its file and line."""
