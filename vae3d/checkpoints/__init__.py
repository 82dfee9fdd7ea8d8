"""Checkpoints on disk: sealed by checksums, and what a run's newest one knows of its log."""
