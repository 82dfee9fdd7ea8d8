"""The network: it only computes; it has no loss, reads no files and moves to no device."""
