"""A run: its settings, what it starts from and may change, and its weights opened again."""
