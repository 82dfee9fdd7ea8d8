"""The training loop, and what resumes it."""
