"""Pictures and videos of scans, reconstructions and latents."""
