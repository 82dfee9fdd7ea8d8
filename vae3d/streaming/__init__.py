"""Whole volumes in bounded memory: slab by slab, with the result of one pass."""
