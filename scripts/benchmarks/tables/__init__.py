"""One module for each table of docs/benchmarks.md.

A module has a docstring whose first line says what it measures, and

* `TITLE`, the heading of the table in the page;
* `PEERS`, the packages that take part where they are installed;
* `SIZES`, a frozen dataclass of what is measured and how often, for each scale: `full`, `quick`
  (up to 20 seconds on two idle cores) and `miniature` (for the tests);
* `measure(sizes)`, which returns the blocks of the table.
"""
