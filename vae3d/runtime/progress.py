"""`Progress`: how far a long piece of work is."""

from typing import Protocol


class Progress(Protocol):
    """What long work reports to."""

    def start(self, done: int, total: int) -> None:
        """Begin, with `done` of `total` cases finished."""

    def advance(self) -> None:
        """Count one more case."""

    def close(self) -> None:
        """End."""


class Silent(Progress):
    """Shows nothing."""

    def start(self, done: int, total: int) -> None:
        """Show nothing."""

    def advance(self) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""
