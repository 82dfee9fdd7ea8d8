"""`Baseline`: which functions each test calls, and how long it takes, without a fault."""

import json
import math
import sys
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pytest

from mutation.areas import tests_importing, tests_of
from mutation.faults import Mutant
from mutation.forks import log_of, print_line, run_forked, run_pytest

SECONDS = 40.0
"""Seconds that the tests of one mutant may take together; beyond it the longest are left out."""
STARTERS = {"_execute_child", "_launch", "spawnv_passfds"}
"""Functions of the standard library that start a process, whose calls are not seen."""
Place = tuple[str, int]
"""A function, by its module and first line."""
ANYTHING: Place = ("", 0)
"""Noted of a test that starts processes: it may call anything."""


@dataclass
class Baseline:
    """Of each test without a fault: its seconds, and the functions that it calls."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, set[Place]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        calls = {test: sorted(places) for test, places in self.calls.items()}
        return json.dumps({"seconds": self.seconds, "calls": calls})

    @classmethod
    def from_json(cls, text: str) -> "Baseline":
        """What `to_json` wrote."""
        values = json.loads(text)
        calls = {test: {*map(tuple, places)} for test, places in values["calls"].items()}
        return cls(values["seconds"], calls)

    def chosen(self, mutant: Mutant) -> dict[str, float]:
        """The tests of its area that may notice a mutant, and their seconds, the quick ones."""
        files, place = tests_of(mutant.area), (mutant.path, mutant.function)
        near = tests_importing(mutant.path) & {*files} or files
        found: dict[str, float] = {}
        left = SECONDS
        for test, seconds in sorted(self.seconds.items(), key=lambda item: item[1]):
            file = test.split("::")[0]
            called = self.calls[test] & {place, ANYTHING} if mutant.function else file in near
            if called and file in files:
                left -= seconds
                if left < 0:
                    break
                found[test] = seconds
        return found


class Watcher:
    """A pytest plugin that notes the seconds of each test and the functions that it calls."""

    def __init__(self, folder: Path) -> None:
        self.baseline = Baseline()
        self.root = f"{folder}/"
        self.package = f"{folder}/vae3d/"
        self.shared: dict[str, set[Place]] = defaultdict(set)
        self.own: dict[str, set[Place]] = {}
        # Until a test runs, calls are those of imports: they belong to all tests.
        self.now = self.shared[""]

    def trace(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self.package):
            self.now.add((code.co_filename[len(self.root) :], code.co_firstlineno))
        elif code.co_name in STARTERS:
            self.now.add(ANYTHING)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # A fixture may be made for the first test and serve the others of its file.
        self.now = self.shared[item.nodeid.split("::")[0]]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.now = self.own[item.nodeid] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.baseline.seconds[report.nodeid] += math.inf if report.failed else report.duration

    def pytest_sessionfinish(self) -> None:
        for test in self.baseline.seconds:
            shared = self.shared[test.split("::")[0]]
            calls = self.own.get(test, set()) | shared | self.shared[""]
            self.baseline.calls[test] = calls


def find_baseline(files: Sequence[str], slots: Sequence[Path]) -> Baseline:
    """Runs test files without a fault; a test that fails even so is left out.

    Raises:
        RuntimeError: a file cannot be run.
    """
    found = Baseline()

    def watch(file: str, slot: Path) -> int:
        watcher = Watcher(slot)
        threading.settrace(watcher.trace)
        sys.settrace(watcher.trace)
        status = run_pytest(slot, [file], watcher)
        sys.settrace(None)
        (slot / "baseline.json").write_text(watcher.baseline.to_json())
        return 0 if status == pytest.ExitCode.TESTS_FAILED else status

    def take(file: str, slot: Path, status: int) -> None:
        if status:
            raise RuntimeError(f"{file} cannot be run:\n{log_of(slot)}")
        part = Baseline.from_json((slot / "baseline.json").read_text())
        found.seconds.update(part.seconds)
        found.calls.update(part.calls)
        seconds = sum(s for s in part.seconds.values() if s < math.inf)
        print_line(f"{file}: {len(part.seconds)} tests, {seconds:.0f} s without a fault")
        for test, seconds in part.seconds.items():
            if seconds == math.inf:
                print_line(f"left out, since it fails without a fault: {test}")

    run_forked(files, slots, watch, take, lambda area: 3600)
    return found
