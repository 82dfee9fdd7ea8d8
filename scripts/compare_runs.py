"""Compares the metrics of two runs, row by row: `compare_runs.py runs/a runs/b [--assert-equal]`.

A change that should change no result is proven by two runs of the same settings, before and after.
"""

import argparse
import csv
import sys
from pathlib import Path


def main() -> int:
    """Prints the largest difference of each column; with --assert-equal any is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs=2, type=Path)
    parser.add_argument("--assert-equal", action="store_true")
    arguments = parser.parse_args()
    first, second = (read_metrics(run / "metrics.csv") for run in arguments.runs)
    shared = sorted(first.keys() & second.keys())
    columns = sorted({column for key in shared for column in first[key]})
    equal = first.keys() == second.keys()
    for column in columns:
        pairs = [(first[key].get(column), second[key].get(column)) for key in shared]
        gap = max((abs(float(a) - float(b)) for a, b in pairs if a and b), default=0.0)
        equal = equal and gap == 0
        sys.stdout.write(f"{column:20s} {gap:.3g}\n")
    sys.stdout.write(f"{len(shared)} rows in common, {'equal' if equal else 'not equal'}\n")
    return int(arguments.assert_equal and not equal)


def read_metrics(path: Path) -> dict[tuple[str, str], dict[str, str]]:
    """The rows of a metrics.csv by step and split."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row.pop("step"), row.pop("split")): row for row in rows}


if __name__ == "__main__":
    sys.exit(main())
