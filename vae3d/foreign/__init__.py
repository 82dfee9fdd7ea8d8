"""Autoencoders of other programs, scored as vae3d's own: one module for each library."""
