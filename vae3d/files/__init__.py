"""Files are opened, read, written and locked so that nothing is lost or touched by mistake."""
