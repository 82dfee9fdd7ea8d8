"""Output on the terminal: progress of a training, progress bars, tables."""

import logging
import sys
import time
from collections.abc import Sequence
from typing import IO, TextIO, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from vae3d.logger.base import Logger, Scores
from vae3d.system.streams import LastingText

log = logging.getLogger(__name__)

PLAIN_INTERVAL = 10.0
"""Seconds between lines of progress if stderr is not a terminal."""
PIPE_WIDTH = 160
"""Columns of a table if stdout is not a terminal."""
TIMES = (
    *(TimeElapsedColumn(), TextColumn("elapsed,")),
    *(TimeRemainingColumn(elapsed_when_finished=False), TextColumn("left")),
)
"""Columns of a progress bar, each time with its word."""
HIDDEN_SCORES = (
    *("epoch", "voxels_per_second", "kl_weight", "lr", "grad_norm"),
    "discriminator_grad_norm",
)


class ConsoleLogger(Logger):
    """A live progress line on a terminal, else one plain line every PLAIN_INTERVAL seconds."""

    def __init__(self, total_steps: int) -> None:
        self.console = _stderr()
        self.total = total_steps
        self.started: tuple[float, int] | None = None
        self._last_print = -PLAIN_INTERVAL
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            *TIMES,
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("train", total=total_steps, epoch=0, scores="")
        self.progress.start()

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        """Show the scores of a step."""
        if split != "train":
            self.progress.console.print(f"step {step} {split}: {_format_scores(scores)}")
            return
        text = _format_scores(scores)
        if "voxels_per_second" in scores:
            text += f" {speed_text(scores['voxels_per_second'])}"
        epoch = int(scores.get("epoch", 0))
        self.progress.update(self.task, completed=step, epoch=epoch, scores=text)
        if not self.console.is_terminal:
            self._print_line(step, epoch, text)

    def close(self, failed: bool = False) -> None:
        """Stop the progress line."""
        self.progress.stop()

    def _print_line(self, step: int, epoch: int, scores: str) -> None:
        now = time.monotonic()
        start, first = self.started = self.started or (now, step)
        if now - self._last_print < PLAIN_INTERVAL and step < self.total:
            return
        self._last_print = now
        elapsed = now - start
        left = elapsed / max(step - first, 1) * (self.total - step)
        times = f"{_format_duration(elapsed)} elapsed, {_format_duration(left)} left"
        text = f"epoch {epoch} step {step}/{self.total} {scores}"
        self.console.print(f"{text}, {times}" if step > first else text)


class ProgressBar:
    """The progress of a long operation, printed only if `shown` is true."""

    def __init__(self, title: str, shown: bool = True) -> None:
        self.title = title
        self.shown = shown
        self.done = self.total = 0
        self._last_print = 0.0
        self._bar: Progress | None = None

    def start(self, done: int, total: int) -> None:
        """Show the bar at `done` of `total`."""
        self.done, self.total, self._last_print = done, total, time.monotonic()
        console = _stderr()
        if self.shown and console.is_terminal:
            columns = (
                TextColumn(self.title),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                *TIMES,
            )
            self._bar = Progress(*columns, console=console)
            self._bar.add_task(self.title, total=total, completed=done)
            self._bar.start()

    def advance(self) -> None:
        """Count one more case as done."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done)
        elif self.shown and time.monotonic() - self._last_print > PLAIN_INTERVAL:
            self._last_print = time.monotonic()
            log.info(f"{self.title} {self.done}/{self.total}")

    def close(self) -> None:
        """Stop the bar and leave it on the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _format_scores(scores: Scores) -> str:
    parts = [f"{k} {v:.4g}" for k, v in scores.items() if k not in HIDDEN_SCORES]
    return " ".join(parts)


def _format_duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def speed_text(voxels_per_second: float) -> str:
    """Return a speed with three digits: 0.0123 Mvoxel/s, 45.6 Mvoxel/s, 1234 Mvoxel/s."""
    speed = voxels_per_second / 1e6
    return f"{speed:.0f} Mvoxel/s" if speed >= 1000 else f"{speed:.3g} Mvoxel/s"


def print_lines(lines: Sequence[str]) -> None:
    """Print results on stdout, one line each; a reader that has closed its pipe is no error."""
    console = Console(file=_lasting(sys.stdout), soft_wrap=True)
    for line in lines:
        console.print(_as_text(line, console))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout; a reader that has closed its pipe is no error."""
    # A file or a pipe has no width, so rows need no line breaks there.
    console = Console(file=_lasting(sys.stdout), width=None if sys.stdout.isatty() else PIPE_WIDTH)
    grid = Table(title=_as_text(title, console), title_justify="left")
    for column in columns:
        grid.add_column(_as_text(column, console))
    for row in rows:
        grid.add_row(*[_as_text(cell, console) for cell in row])
    console.print(grid)


def _as_text(value: object, console: Console) -> Text:
    # In a plain string rich would read the brackets of a case's name as markup.
    return Text(str(value).encode(console.encoding, "replace").decode(console.encoding))


def _stderr() -> Console:
    return Console(file=_lasting(sys.stderr), stderr=True, highlight=False, soft_wrap=True)


def _lasting(stream: TextIO) -> IO[str]:
    # rich would end the program if the reader closes its pipe.
    return cast("IO[str]", LastingText(stream))
