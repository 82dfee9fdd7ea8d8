"""`Results`: the rows that are measured already, in a file that the same command continues."""

import json
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent.parent
OUT_OF_MEMORY = "out of memory"
Row = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A row to measure: its part, its key within the part, and what measures it."""

    part: str
    key: str
    measure: Callable[[], Row]


def say(text: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def describe(device: torch.device) -> dict[str, str]:
    """Return the device, the versions and the commit that results belong to."""
    name = platform.processor() or platform.machine()
    memory = ""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name, memory = properties.name, f"{properties.total_memory / 2**30:.0f} GiB"
    return {
        "device": f"{name} {memory}".strip(),
        "kind": device.type,
        "torch": torch.__version__,
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "python": platform.python_version(),
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the working tree, empty where it is unknown."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


class Results:
    """Rows by part and key in `results.json` of a folder, of one machine and one commit."""

    def __init__(self, folder: Path, about: dict[str, str]) -> None:
        self.path = folder / "results.json"
        self.about = about
        self.rows: dict[str, dict[str, Row]] = {}
        if self.path.exists():
            saved = json.loads(self.path.read_text(encoding="utf-8"))
            if saved["about"] == about:
                self.rows = saved["rows"]
            else:
                say(f"{self.path} is of another machine or commit: measured again")

    def of(self, part: str) -> dict[str, Row]:
        """Return the rows of a part, in the order in which they were measured."""
        return self.rows.get(part, {})

    def run(self, tasks: list[Task], minutes: float) -> int:
        """Measure the rows that are missing, none later than `minutes`; return how many are left.

        A row that failed is measured again by the next command.
        """
        end = time.monotonic() + 60 * minutes
        for task in tasks:
            known = self.of(task.part).get(task.key)
            if known is not None and "error" not in known:
                continue
            if time.monotonic() > end:
                break
            start = time.monotonic()
            row = measured(task)
            row["wall"] = round(time.monotonic() - start, 1)
            self.rows.setdefault(task.part, {})[task.key] = row
            self.save()
            shown = row.get("error") or "done"
            say(f"{task.part}: {task.key}: {shown} ({row['wall']} s)")
        return sum(task.key not in self.of(task.part) for task in tasks)

    def failed(self) -> list[str]:
        """Return the keys of the rows that failed, other than for too little memory."""
        return [
            f"{part}: {key}: {row['error']}"
            for part, rows in self.rows.items()
            for key, row in rows.items()
            if row.get("error", OUT_OF_MEMORY) != OUT_OF_MEMORY
        ]

    def save(self) -> None:
        """Write all rows."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"about": self.about, "rows": self.rows}, indent=1)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(self.path)


def measured(task: Task) -> Row:
    """Return the row of a task, or its error: one row must not end the others."""
    try:
        return task.measure()
    except torch.OutOfMemoryError:
        return {"error": OUT_OF_MEMORY}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    finally:
        torch._dynamo.reset()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
