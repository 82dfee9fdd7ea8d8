"""Patches as batches, of scans or of stored latents, and the loader that a training reads."""
