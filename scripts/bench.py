"""Measure the tables of docs/benchmarks.md: vae3d against the peers that are installed.

    python scripts/bench.py                      # all tables, about two hours on two idle cores
    python scripts/bench.py --quick              # all of them at small sizes, five minutes
    python scripts/bench.py --only start,loader --list
    python scripts/bench.py --only inference --set shape=256,256,256 rounds=3
    python scripts/bench.py --quick --against ../earlier   # another checkout, alternating

Each table is measured in a process of its own and written into its section of the page, with the
machine, the peers, and how much of the machine other processes used. Results are kept as JSON in
`benchmarks/COMMIT/`, with what was printed meanwhile; what is there is not measured again.
`--quick`, `--set`, `--source` and uncommitted changes leave the page as it is, unless `--write`
asks for it.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.comparison import compare
from benchmarks.machine import PAGE
from benchmarks.page import section, write_table
from benchmarks.processes import ROOT
from benchmarks.runs import Runs
from benchmarks.table import purpose, table_names


def main() -> int:
    """Measure what was asked for; return 1 if a table failed."""
    options = parsed()
    names = chosen(options.only)
    if options.list:
        show("\n".join(f"{name:14} {purpose(name)}" for name in names))
        return 0
    scale = "quick" if options.quick else "full"
    runs = Runs(scale, options.set, options.source.resolve())
    if options.against:
        earlier = Runs(scale, options.set, options.against.resolve())
        return compare(names, runs, earlier, options.repeats, show)
    changed = options.quick or options.set or runs.source != ROOT
    default = not changed and not runs.commit.endswith("-changed")
    writes = default if options.write is None else options.write
    results = [tabulate(runs, name, options.again, writes) for name in names]
    return 0 if all(results) else 1


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", default="", help="names of tables, separated by commas")
    add("--list", action="store_true", help="print what the tables measure, and stop")
    add("--quick", action="store_true", help="small sizes, five minutes for all tables")
    add("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="other sizes")
    add(
        "--again",
        choices=("never", "busy", "always"),
        default="never",
        help="measure again: tables of a busy machine, or all",
    )
    add("--write", action=argparse.BooleanOptionalAction, help=f"write into {PAGE}")
    add("--source", type=Path, default=ROOT, help="measure the vae3d of another checkout")
    add("--against", type=Path, help="compare with another checkout, table by table")
    add("--repeats", type=int, default=2, help="times that --against measures each table")
    return parser.parse_args()


def chosen(only: str) -> list[str]:
    """Return the tables that were asked for, or all.

    Raises:
        SystemExit: there is no such table.
    """
    known = table_names()
    names = [name for name in only.split(",") if name] or known
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no such table: {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def tabulate(runs: Runs, name: str, again: str, writes: bool) -> bool:
    """Measure a table if it is not kept, print it and write it; return whether that succeeded."""
    result = None if again == "always" else runs.kept(name)
    if result is None or (again == "busy" and not result.load.is_idle):
        show(f"measuring {name}")
        result = runs.measure(name)
    if result is None:
        return False
    spent = f"{result.seconds:.0f} s, {result.load.own:.0f} CPU s"
    show(f"\n## {result.title} ({spent})\n\n{section(result)}\n")
    if writes:
        write_table(ROOT / PAGE, result)
    return True


def show(text: str) -> None:
    """Print text now, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
