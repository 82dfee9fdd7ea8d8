"""`Runs`: measures tables, each in a process of its own, and keeps their results."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "commit", commit_of(self.source))

    commit: str = field(init=False)

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
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "measured.json")
            words = (name, self.scale, str(file), str(Path.cwd()), *self.changes)
            command = module_command("benchmarks.measure", *words)
            given = environment(self.source)
            done = subprocess.run(command, cwd=SCRIPTS, env=given, check=False)
            seconds, load = time.monotonic() - start, meter.load()
            if done.returncode or not file.exists():
                sys.stderr.write(f"{name}: ended with exit code {done.returncode}\n")
                return None
            measured = json.loads(file.read_text(encoding="utf-8"))
        result = Result.from_json(
            {
                **measured,
                "name": name,
                "scale": self.scale,
                "changes": self.changes,
                "commit": self.commit,
                "date": date.today().isoformat(),
                "load": vars(load),
                "seconds": round(seconds, 1),
            }
        )
        self.keep(result)
        return result

    def keep(self, result: Result) -> None:
        """Write a result into the folder of results, whole or not at all."""
        file = self.file(result.name)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        part.replace(file)

    def file(self, name: str) -> Path:
        """Return the file of a table's result."""
        kind = f"{self.scale}-changed" if self.changes else self.scale
        return self.results / self.commit / kind / f"{name}.json"
