"""Cases on disk or generated on the fly, as volumes and patches."""
