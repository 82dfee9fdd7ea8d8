"""Lists of scans and the groups of their cases: CSV, JSON, MONAI and nnU-Net."""
