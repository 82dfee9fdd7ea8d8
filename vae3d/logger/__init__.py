"""Destinations of losses, scores and pictures, one module each."""
