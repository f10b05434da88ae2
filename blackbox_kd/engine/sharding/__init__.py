"""One run on several machines: its parts, their folders, and how they are joined."""
