"""Scans and images: volumes, their file formats, resampling and sources."""
