"""`CsvLogger`: metrics.csv, bit-identical for the same training, interrupted or not."""

import csv
import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from vae3d.files.atomic import atomic_write
from vae3d.files.links import open_own
from vae3d.logger.base import Logger, Scores
from vae3d.logger.rows import FIRST_COLUMNS, Written, recover

log = logging.getLogger(__name__)


class CsvLogger(Logger):
    """Appends one row for each log; names without a column are left out, missing ones blank.

    The columns are fixed at the start. Floats are written so that they are read back exactly.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = [*FIRST_COLUMNS, *columns]
        self._begin()

    def _begin(self) -> None:
        self._digest, self._bytes, self._rows = hashlib.sha256(), 0, 0

    @property
    def written(self) -> Written:
        """What was written so far, for a checkpoint to record."""
        return Written(self._rows, self._bytes, self._digest.hexdigest())

    def truncate_after(self, step: int, written: Written | None = None) -> None:
        """Keep the rows up to `step`, which a resumed run does not write again.

        A last line that was cut off when the process was killed is dropped. If the file does not
        begin with what was `written` up to that step, one line says what was lost.
        """
        found = recover(self.path, step, written)
        if found.problem:
            log.warning(f"{found.problem}. The training resumes from its whole checkpoint")
        rows = ([row.get(name, "") for name in self.columns] for row in found.rows)
        self._begin()
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(b"".join(map(self._line, [self.columns, *rows])))
        self._rows = len(found.rows)

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Append a row."""
        cells = {"step": step, "split": split, **scores}
        line = self._line([cells.get(name, "") for name in self.columns])
        with open_own(self.path) as file:
            file.write(line)
        self._rows += 1

    def _line(self, cells: Sequence[object]) -> bytes:
        """Return a line of the file, and count it as written."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(cells)
        data = text.getvalue().encode()
        self._digest.update(data)
        self._bytes += len(data)
        return data
