"""The operating system where it refuses: streams, limits, and what a file system cannot do."""
