"""`StopSignal`: a signal that asks to stop sets a flag, which is read between two steps."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP")
"""Sent by a scheduler, by Ctrl-C, by Slurm's --signal, and by a terminal that goes away."""


class StopSignal:
    """The first signal that arrived: its `name`, or None."""

    def __init__(self) -> None:
        self.name: str | None = None

    @property
    def came(self) -> bool:
        """Whether a signal arrived, so that the training must stop."""
        return self.name is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Set the flag for signals within this context; a second Ctrl-C ends immediately.

        Files are written atomically, so even the second Ctrl-C leaves no damaged file.
        """
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread only.
            yield
            return
        chosen = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
            chosen.remove(signal.SIGHUP)  # under nohup, which asks to train on
        before = {number: signal.signal(number, self._handle) for number in chosen}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name == "SIGINT":
            raise KeyboardInterrupt
        if self.name is None:
            self.name = signal.Signals(number).name
            _announce(self.name)


def _announce(name: str) -> None:
    """Write a line to stderr immediately: a step may take long to end.

    os.write is safe in a handler of signals, unlike `sys.stderr`.
    """
    again = "; Ctrl-C again ends without saving" if name == "SIGINT" else ""
    line = f"\n{name}: stopping after this step, a checkpoint is saved{again}\n"
    # Where stderr was closed, another file may have its number.
    if int(os.environ.get("RANK", "0")) == 0 and sys.stderr is not None:
        with contextlib.suppress(OSError):
            os.write(2, line.encode())
