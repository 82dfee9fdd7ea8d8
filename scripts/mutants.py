"""Counts the small faults that the tests let through: `mutants.py --count 150 --seed 0`.

A mutant is the package with one small fault: a comparison, an operator, a constant, a returned
value or a statement that is not what it should be. Each one is written into a copy of the
repository, where the tests of its area run until one fails; the working tree is never touched.
Prints, area by area, how many were noticed, and the ones that were not.

The copy's tests run in a fork of this process, which has imported torch and the other libraries
already. A first run, without a fault, notes which functions each test calls: a fault inside a
function runs only the tests that call it, one outside of all functions those that import its
module, the quick ones first.

Not drawn, since no test should notice them: texts and messages, type hints, assertions,
decorators, `__repr__`, abstract methods, branches for a GPU, and the arguments in UNNOTICEABLE.
Some of the rest change nothing either (a limit of speed or memory, `<` for `<=` where both sides
agree), so that 100 % is no goal.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from mutation.areas import AREAS, ROOT, tests_of
from mutation.baseline import Baseline, find_baseline
from mutation.faults import Mutant, mutants_of
from mutation.forks import copy_repository, import_libraries, print_line, run_forked, run_pytest


def main() -> int:
    """Draws, tests and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150, help="mutants drawn (150)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (0)")
    parser.add_argument("--area", choices=AREAS, action="append", help="one area, repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="tested at the same time (1)")
    arguments = parser.parse_args()
    areas = arguments.area or [*AREAS]
    known = [mutant for area in areas for mutant in mutants_of(area)]
    drawn = random.Random(arguments.seed).sample(known, min(arguments.count, len(known)))
    import_libraries()
    with tempfile.TemporaryDirectory() as work:
        slots = [copy_repository(Path(work) / str(job)) for job in range(arguments.jobs)]
        files = {file for area in {m.area for m in drawn} for file in tests_of(area)}
        baseline = find_baseline(sorted(files), slots)
        survivors = test_mutants(drawn, baseline, slots)
    report(drawn, survivors)
    return 0


def report(drawn: Sequence[Mutant], survivors: Sequence[Mutant]) -> None:
    """Prints noticed/total by area, and the survivors."""
    total, let_through = (Counter(m.area for m in mutants) for mutants in (drawn, survivors))
    for area, count in sorted(total.items()):
        print_line(f"{area:10s} {count - let_through[area]}/{count}")
    noticed = len(drawn) - len(survivors)
    print_line(f"{'all':10s} {noticed}/{len(drawn)} ({noticed / max(len(drawn), 1):.1%})")
    for mutant in sorted(survivors, key=lambda m: (m.path, m.line)):
        print_line(str(mutant))


class Chooser:
    """A pytest plugin that runs the chosen tests only, files that take less time first."""

    def __init__(self, chosen: dict[str, float]) -> None:
        self.chosen = chosen
        self.files: dict[str, float] = defaultdict(float)
        for test, seconds in chosen.items():
            self.files[test.split("::")[0]] += seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.chosen]
        items.sort(key=lambda item: self.files[item.nodeid.split("::")[0]])


def test_mutants(
    drawn: Sequence[Mutant], baseline: Baseline, slots: Sequence[Path]
) -> list[Mutant]:
    """Runs the tests of each mutant; the mutants that all of them let through."""
    sources = {mutant.path: (ROOT / mutant.path).read_bytes() for mutant in drawn}
    survivors: list[Mutant] = []

    def attack(mutant: Mutant, slot: Path) -> int:
        chosen = baseline.chosen(mutant)
        if not chosen:
            return 0
        (slot / mutant.path).write_bytes(mutant.apply(sources[mutant.path]))
        files = sorted({test.split("::")[0] for test in chosen})
        return run_pytest(slot, ["-x", *files], Chooser(chosen))

    def take(mutant: Mutant, slot: Path, status: int) -> None:
        (slot / mutant.path).write_bytes(sources[mutant.path])
        if not status:
            survivors.append(mutant)
        print_line(f"{'noticed' if status else 'let through'}  {mutant}")

    def limit(mutant: Mutant) -> int:
        return 20 + int(4 * sum(baseline.chosen(mutant).values()))

    run_forked(drawn, slots, attack, take, limit)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
