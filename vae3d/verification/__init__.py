"""What `vae3d verify` checks: every file with a checksum, in full."""
