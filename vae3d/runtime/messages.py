"""What vae3d reports goes through `logging`; here it becomes lines on stderr.

Modules log to `logging.getLogger(__name__)`, all below the logger "vae3d": results and progress as
INFO, what a user should look into as WARNING. The command line shows both; in Python nothing is
shown below WARNING unless `show_messages` or a configuration of `logging` asks for it.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator

from vae3d.system.streams import LastingText

ROOT = logging.getLogger("vae3d")


def counted(number: int, noun: str = "case") -> str:
    """Return a number of things as text: `1 case`, `2 cases`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


class StderrHandler(logging.Handler):
    """One line for each message, on whatever stderr is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message; a stderr that is gone is no error."""
        if sys.stderr is not None:  # it is None where it was closed
            stderr = LastingText(sys.stderr)
            stderr.write(f"{record.getMessage()}\n")
            stderr.flush()


def show_messages() -> None:
    """Show what vae3d reports on stderr, from INFO on; a second call changes nothing."""
    if not any(isinstance(handler, StderrHandler) for handler in ROOT.handlers):
        ROOT.addHandler(StderrHandler())
        ROOT.setLevel(logging.INFO)
        # Hydra gives the root logger a handler of its own in sweeps.
        ROOT.propagate = False


def show_messages_unless_configured() -> None:
    """The same, unless a program has set up `logging` for itself."""
    if not ROOT.hasHandlers():
        show_messages()


@contextlib.contextmanager
def messages_of_rank(rank: int) -> Iterator[None]:
    """Keep ranks other than 0 from repeating what rank 0 reports; warnings pass."""
    level = ROOT.level
    if rank:
        ROOT.setLevel(logging.WARNING)
    try:
        yield
    finally:
        ROOT.setLevel(level)
