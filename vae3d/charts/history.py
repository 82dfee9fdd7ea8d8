"""`History`: a growing metrics.csv as curves of bounded length, read incrementally."""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from vae3d.files.reading import lines_of, open_regular

MAX_POINTS = 400
MAX_ABSOLUTE_VALUE = 1e300
"""Larger numbers are left out: their sums may overflow."""
Sum = tuple[float, float, int]
"""The sum of x, the sum of y, and the number of points in it."""


@dataclass
class Curve:
    """Any number of points (x, y), stored as means of `width` neighbours each."""

    width: int = 1
    sums: list[Sum] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """Add a point with an x not below the others; equal points make an equal curve."""
        if self.sums and self.sums[-1][2] < self.width:
            self.sums[-1] = _add(self.sums[-1], (x, y, 1))
            return
        if len(self.sums) == MAX_POINTS:
            self.width *= 2
            pairs = zip(self.sums[::2], self.sums[1::2], strict=True)
            self.sums = [_add(a, b) for a, b in pairs]
        self.sums.append((x, y, 1))

    @property
    def points(self) -> list[tuple[float, float]]:
        """The means (x, y), at most MAX_POINTS of them."""
        return [(x / count, y / count) for x, y, count in self.sums]


def _add(a: Sum, b: Sum) -> Sum:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


class History:
    """The columns of a growing metrics.csv by (split, name); damaged rows are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reset()

    def reset(self) -> None:
        """Remove all curves and read the file from its start again."""
        self.curves: dict[tuple[str, str], Curve] = {}
        self.last: dict[tuple[str, str], float] = {}
        self.step = 0
        self._columns: list[str] = []
        self._offset = 0

    def read_new_rows(self) -> None:
        """Read the rows added since the last call; all rows if the file has become shorter."""
        if not self.path.is_file():
            return
        with open_regular(self.path) as file:
            if self.path.stat().st_size < self._offset:
                self.reset()
            file.seek(self._offset)
            # What follows a line that is too long is damaged too.
            with contextlib.suppress(OSError):
                for line in lines_of(file, self.path):
                    if not line.endswith(b"\n"):
                        break
                    self._offset += len(line)
                    self._add_row(line.decode(errors="replace"))

    def of(self, split: str) -> list[str]:
        """Return the names that have values in this split."""
        return [name for part, name in self.curves if part == split]

    def _add_row(self, line: str) -> None:
        # The cells are names and numbers, which are never quoted.
        cells = line.rstrip("\r\n").split(",")
        if not self._columns:
            self._columns = cells
        if len(cells) != len(self._columns):
            return
        row = dict(zip(self._columns, cells, strict=True))
        step, split = _number(row.get("step", "")), row.get("split")
        if step is None or split not in ("train", "val"):
            return
        self.step = int(step)
        for name, cell in row.items():
            value = _number(cell)
            if value is not None and name not in ("step", "epoch"):
                self.curves.setdefault((split, name), Curve()).add(step, value)
                self.last[split, name] = value


def _number(cell: str) -> float | None:
    try:
        value = float(cell or "nan")
    except ValueError:
        return None
    return value if abs(value) < MAX_ABSOLUTE_VALUE else None
