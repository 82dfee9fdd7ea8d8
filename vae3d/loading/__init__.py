"""Patches as batches: which patch is which, and the loader that a training reads them from."""
