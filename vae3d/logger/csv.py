"""`CsvLogger`: metrics.csv, bit-identical for the same training, interrupted or not."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from vae3d.logger.base import Logger, Scores
from vae3d.runtime.files import atomic_write, open_own

FIRST_COLUMNS = ("step", "epoch", "split")


class CsvLogger(Logger):
    """Appends one row for each log; names without a column are left out, missing ones blank.

    The columns are fixed at the start. Floats are written so that they are read back exactly.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = [*FIRST_COLUMNS, *columns]

    def truncate_after(self, step: int) -> None:
        """Keep the rows up to `step`, which a resumed run does not write again.

        A last line that was cut off when the process was killed is dropped.
        """
        rows = self._whole_rows()
        with atomic_write(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.columns)
            writer.writerows(row for row in rows if int(row[0]) <= step)

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Append a row."""
        cells = {"step": step, "split": split, **scores}
        with io.TextIOWrapper(open_own(self.path), encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(
                [cells.get(name, "") for name in self.columns]
            )

    def _whole_rows(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        lines = self.path.read_text().splitlines(keepends=True)
        rows = list(csv.reader(line for line in lines[1:] if line.endswith("\n")))
        return [row for row in rows if len(row) == len(self.columns)]
