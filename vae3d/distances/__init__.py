"""Distances between sets of images: of patches, and of features as normal distributions."""
