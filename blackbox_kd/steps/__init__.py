"""One file is one step, and the file's name is its name in a recipe. Steps never import each other."""
