"""Synthetic rows: a stronger model writes them, and each is checked before it counts."""
