"""`BusyProcess`: another process that keeps one core busy while it is asked to."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator


class BusyProcess:
    """A process that computes without end, and is stopped except within `running`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self._process.send_signal(signal.SIGSTOP)

    def __enter__(self) -> "BusyProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the process compute within the block."""
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGSTOP)

    def beside(self, measure: Callable[[], float]) -> Callable[[], float]:
        """Return what measures the same while the process computes."""

        def measured() -> float:
            with self.running():
                return measure()

        return measured
