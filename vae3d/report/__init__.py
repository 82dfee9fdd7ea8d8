"""Reports of evaluations: results, the HTML page, and comparisons of runs."""
