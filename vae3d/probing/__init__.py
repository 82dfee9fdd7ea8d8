"""Linear probes: what the latents of scans know of their labels, next to downsampled scans."""
