"""Weights of other programs read in, and own weights written for them."""
