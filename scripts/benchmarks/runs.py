"""`Runs`: measures tables, each in a process of its own, and keeps their results."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load import LoadMeter
from benchmarks.machine import commit_of, cpu_name, usable_cores
from benchmarks.processes import ROOT, SCRIPTS, environment, module_command
from benchmarks.result import Result

RESULTS = ROOT / "benchmarks"
"""Results by commit and scale, ignored by git."""


@dataclass(frozen=True)
class Runs:
    """Measurements of one checkout at one scale; `changes` are sizes as `FIELD=VALUE`."""

    scale: str
    changes: list[str] = field(default_factory=list)
    source: Path = ROOT
    results: Path = RESULTS

    @cached_property
    def commit(self) -> str:
        """The commit of the checkout, with `-changed` if files differ from it."""
        return commit_of(self.source)

    def kept(self, name: str) -> Result | None:
        """Return the result of a table if it was measured on this commit and this machine."""
        if self.changes or self.commit.endswith("-changed"):
            return None
        try:
            text = self.file(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        result = Result.from_json(json.loads(text))
        here = (cpu_name(), usable_cores())
        return result if (result.machine["cpu"], result.machine["cores"]) == here else None

    def measure(self, name: str) -> Result | None:
        """Measure a table and keep its result; return None if it failed."""
        meter = LoadMeter()
        start = time.monotonic()
        measured = self._in_its_process(name)
        seconds, load = time.monotonic() - start, meter.load()
        if measured is None:
            return None
        about = {"name": name, "scale": self.scale, "changes": self.changes, "commit": self.commit}
        when = {"date": date.today().isoformat(), "seconds": round(seconds, 1), "load": vars(load)}
        result = Result.from_json({**measured, **about, **when})
        self.keep(result)
        return result

    def _in_its_process(self, name: str) -> dict[str, Any] | None:
        """Return what a table's process measured; what it prints goes into a file."""
        log = self.file(name, "log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder, log.open("wb") as output:
            file = Path(folder, "measured.json")
            words = (name, self.scale, str(file), str(Path.cwd()), *self.changes)
            done = subprocess.run(
                module_command("benchmarks.measure", *words),
                cwd=SCRIPTS,
                env=environment(self.source),
                stdout=output,
                stderr=output,
                check=False,
            )
            if done.returncode == 0 and file.exists():
                measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
                return measured
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        why = f"exit code {done.returncode}: {lines[-1] if lines else 'nothing was printed'}"
        sys.stderr.write(f"{name}: ended with {why} ({log})\n")
        return None

    def keep(self, result: Result) -> None:
        """Write a result into the folder of results, whole or not at all."""
        file = self.file(result.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        part.replace(file)

    def file(self, name: str, suffix: str = "json") -> Path:
        """Return the file of a table's result, or of what was printed while it was measured."""
        kind = f"{self.scale}-changed" if self.changes else self.scale
        return self.results / self.commit / kind / f"{name}.{suffix}"
