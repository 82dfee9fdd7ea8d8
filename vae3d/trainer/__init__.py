"""The training loop, its checkpoints, and what resumes it."""
