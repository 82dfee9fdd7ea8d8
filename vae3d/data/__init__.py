"""Cases on disk or made on the fly, as volumes and patches."""
