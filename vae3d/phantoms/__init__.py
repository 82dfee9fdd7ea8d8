"""CT-like phantoms: random patients that are computed from a seed."""
