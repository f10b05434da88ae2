"""What is computed from texts and answers: accuracy, intervals, likeness, leakage. Nothing here asks a model."""
