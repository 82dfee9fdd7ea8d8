"""`History`: a metrics.csv as curves of bounded length, read on where it was left."""

from dataclasses import dataclass, field
from pathlib import Path

MAX_POINTS = 400
MOST = 1e300
"""Larger numbers are left out: their sums may be no numbers."""
Sum = tuple[float, float, int]


@dataclass
class Curve:
    """Points (x, y) by the thousand, kept as the means of `width` neighbours each."""

    width: int = 1
    sums: list[Sum] = field(default_factory=list)

    def add(self, x: float, y: float) -> None:
        """One more point, right of the others; the same points always give the same curve."""
        if self.sums and self.sums[-1][2] < self.width:
            self.sums[-1] = _together(self.sums[-1], (x, y, 1))
            return
        if len(self.sums) == MAX_POINTS:
            self.width *= 2
            pairs = zip(self.sums[::2], self.sums[1::2], strict=True)
            self.sums = [_together(a, b) for a, b in pairs]
        self.sums.append((x, y, 1))

    @property
    def points(self) -> list[tuple[float, float]]:
        """At most MAX_POINTS points."""
        return [(x / count, y / count) for x, y, count in self.sums]


def _together(a: Sum, b: Sum) -> Sum:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


class History:
    """The columns of a growing metrics.csv by (split, name); damaged rows are left out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.forget()

    def forget(self) -> None:
        """Begins anew."""
        self.curves: dict[tuple[str, str], Curve] = {}
        self.last: dict[tuple[str, str], float] = {}
        self.step = 0
        self._columns: list[str] = []
        self._place = 0

    def read_on(self) -> None:
        """Takes in the lines that have been written since; all of them where some were removed."""
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            if self.path.stat().st_size < self._place:
                self.forget()
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._place += len(line)
                self._take(line.decode(errors="replace"))

    def of(self, split: str) -> list[str]:
        """The names that this split has values of."""
        return [name for part, name in self.curves if part == split]

    def _take(self, line: str) -> None:
        # Names and numbers: no cell is ever quoted.
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
    return value if abs(value) < MOST else None
