"""The part `tests`: the tests for a GPU, each file in a process of its own."""

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

SECONDS = 400


def test_tasks(scale: Scale) -> Iterator[Task]:
    """Yield a row for each file of tests."""
    marker = "gpu" if scale.device.type == "cuda" else "rehearsal"
    for file in sorted((ROOT / "tests" / "gpu").glob("test_*.py")):
        yield Task("tests", file.stem, partial(run_file, file, marker))


def run_file(file: Path, marker: str) -> Row:
    """Run the tests of a file that have the marker; return the outcome of each.

    Raises:
        RuntimeError: one failed, or pytest itself did.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # pytest finds vae3d as this process does.
        paths = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
        command = [
            sys.executable, "-P", "-m", "pytest", "-q", "-m", marker, f"--junit-xml={report}",
            "-p", "no:cacheprovider", "-o", "pythonpath=", str(file),
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
    if failed or done.returncode:
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
