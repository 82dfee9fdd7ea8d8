"""What the user sees while it runs: progress, announcements, tables."""

import logging
import os
import sys
import time
from collections.abc import Sequence

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

log = logging.getLogger(__name__)

PLAIN_INTERVAL = 10.0
"""Seconds between lines where the output is no terminal."""
PIPE_WIDTH = 160
NOT_SHOWN = ("epoch", "voxels_per_second", "kl_weight", "lr", "grad_norm")


class ConsoleLogger(Logger):
    """A live progress line on a terminal; plain lines, a few a minute, elsewhere."""

    def __init__(self, total_steps: int) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.total = total_steps
        self.started: tuple[float, int] | None = None
        self._spoke = -PLAIN_INTERVAL
        self.progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.progress.add_task("train", total=total_steps, epoch=0, scores="")
        self.progress.start()

    def log(self, step: int, scores: Scores, split: str = "train") -> None:
        if split != "train":
            self.progress.console.print(f"step {step} {split}: {_listed(scores)}")
            return
        shown = _listed(scores)
        if "voxels_per_second" in scores:
            shown += f" {scores['voxels_per_second'] / 1e6:.2f} Mvoxel/s"
        epoch = int(scores.get("epoch", 0))
        self.progress.update(self.task, completed=step, epoch=epoch, scores=shown)
        if not self.console.is_terminal:
            self._plain(step, epoch, shown)

    def close(self, failed: bool = False) -> None:
        self.progress.stop()

    def _plain(self, step: int, epoch: int, shown: str) -> None:
        now = time.monotonic()
        start, first = self.started = self.started or (now, step)
        if now - self._spoke < PLAIN_INTERVAL and step < self.total:
            return
        self._spoke = now
        left = (now - start) / max(step - first, 1) * (self.total - step)
        text = f"epoch {epoch} step {step}/{self.total} {shown}"
        self.console.print(f"{text} {_duration(left)} left" if step > first else text)


class ProgressBar:
    """How far something is that takes a while; silent unless `shown`."""

    def __init__(self, title: str, shown: bool = True) -> None:
        self.title = title
        self.shown = shown
        self.done = self.total = 0
        self._spoke = 0.0
        self._bar: Progress | None = None

    def start(self, done: int, total: int) -> None:
        """Shows `done` of `total`."""
        self.done, self.total, self._spoke = done, total, time.monotonic()
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        if self.shown and console.is_terminal:
            columns = (
                TextColumn(self.title),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console)
            self._bar.add_task(self.title, total=total, completed=done)
            self._bar.start()

    def advance(self) -> None:
        """One more."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done)
        elif self.shown and time.monotonic() - self._spoke > PLAIN_INTERVAL:
            self._spoke = time.monotonic()
            log.info(f"{self.title} {self.done}/{self.total}")

    def close(self) -> None:
        """Leaves the bar where it is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _listed(scores: Scores) -> str:
    parts = [f"{k} {v:.4g}" for k, v in scores.items() if k not in NOT_SHOWN]
    return " ".join(parts)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout; a reader that has gone away is no error."""
    # A file or a pipe has no edge at which a row would have to break.
    console = _StdoutConsole(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    drawn = Table(title=_plain(title, console), title_justify="left")
    for column in columns:
        drawn.add_column(_plain(column, console))
    for row in rows:
        drawn.add_row(*[_plain(cell, console) for cell in row])
    console.print(drawn)


def _plain(value: object, console: Console) -> Text:
    # As Text: rich would take the brackets of a case's name for markup.
    return Text(str(value).encode(console.encoding, "replace").decode(console.encoding))


class _StdoutConsole(Console):
    def on_broken_pipe(self) -> None:
        # rich would end the program; what follows on stdout goes nowhere instead.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
