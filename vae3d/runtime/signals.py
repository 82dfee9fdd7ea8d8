"""`StopSignal`: a signal that asks for an end becomes a flag, looked at between two steps."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
"""Ends of a job, by a scheduler, by hand, and by Slurm's --signal."""


class StopSignal:
    """`name` of the signal that came, if one did."""

    def __init__(self) -> None:
        self.name: str | None = None

    @property
    def came(self) -> bool:
        """Whether to stop."""
        return self.name is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Signals set the flag inside of this context; a second Ctrl-C ends at once.

        Files appear whole or not at all, so that even the second one hurts nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            # Python gives signals to the main thread alone.
            yield
            return
        chosen = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        before = {number: signal.signal(number, self._take) for number in chosen}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name == "SIGINT":
            raise KeyboardInterrupt
        self.name = self.name or signal.Signals(number).name
