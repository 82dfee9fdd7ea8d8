"""Whole volumes in bounded memory: slab by slab through the network, equal to all at once."""
