"""How providers talk over HTTP: chat completions, the Batch API, deadlines, and what a status means."""
