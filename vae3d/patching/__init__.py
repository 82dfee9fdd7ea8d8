"""Sampling and blending of patches, independent of data sets and files."""
