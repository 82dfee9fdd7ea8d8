"""Latents of whole data sets: their figures, their files, and how to train on them."""
