"""Text of strangers, evaluated: prompts, chat templates and row expressions, inside fixed limits."""
