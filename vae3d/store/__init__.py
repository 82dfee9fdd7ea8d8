"""Stores: compressed copies of scans from which patches are read."""
