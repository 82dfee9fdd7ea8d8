"""The part `tests`: the tests for a GPU, each function in a process of its own."""

import ast
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from gpu.results import ROOT, Row, Task
from gpu.speed import Scale

SECONDS = 240
"""Time after which a test has failed."""
NOTHING_SELECTED = 5
"""Exit code of pytest where no case has the marker, as of a test that needs a GPU on a CPU."""


def test_tasks(scale: Scale) -> Iterator[Task]:
    """Yield a row for each function, which may have several cases."""
    marker = "gpu" if scale.device.type == "cuda" else "rehearsal"
    for file in sorted((ROOT / "tests" / "gpu").glob("test_*.py")):
        for name in functions(file):
            yield Task("tests", f"{file.stem} {name}", partial(run, f"{file}::{name}", marker))


def functions(file: Path) -> list[str]:
    """Return the names of the test functions of a file."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if name.startswith("test_")]


def run(name: str, marker: str) -> Row:
    """Run the cases of a test that have the marker; return the outcome of each.

    Raises:
        RuntimeError: one failed, or pytest itself did.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # As in this process: a folder with vae3d and its option files comes before the checkout.
        paths = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
        command = [
            sys.executable, "-P", "-m", "pytest", "-q", "-m", marker, f"--junit-xml={report}",
            "-p", "no:cacheprovider", "-o", "pythonpath=", name,
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": paths}
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        if not report.exists():
            raise RuntimeError(f"pytest failed: {(done.stdout + done.stderr)[-300:]}")
        outcomes = outcomes_of(report)
    failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
    if failed or done.returncode not in (0, NOTHING_SELECTED):
        sys.stdout.write(done.stdout[-6000:])
        raise RuntimeError(f"{len(failed)} of {len(outcomes)} failed: {', '.join(failed)}")
    return {"outcomes": outcomes}


def outcomes_of(report: Path) -> dict[str, str]:
    """Return passed, failed or skipped by the name of a test."""
    # The report was written by the process that has just ended.
    cases = ElementTree.parse(report).iter("testcase")
    outcomes = {}
    for case in cases:
        kinds = {child.tag for child in case}
        failed = kinds & {"failure", "error"}
        outcomes[case.get("name", "")] = (
            "failed" if failed else "skipped" if "skipped" in kinds else "passed"
        )
    return outcomes
