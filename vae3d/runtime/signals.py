"""`StopSignal`: a signal that asks to stop sets a flag, which is read between two steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
"""Sent by a scheduler, by Ctrl-C, and by Slurm's --signal."""


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
        before = {number: signal.signal(number, self._handle) for number in chosen}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name == "SIGINT":
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name
