"""Latents of whole data sets: files, statistics, and a torch Dataset to train on them."""
