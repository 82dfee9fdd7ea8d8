"""Charts: one drawing of curves, as SVG for pages and as pictures for files."""
