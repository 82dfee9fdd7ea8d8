"""`Gallery`: views of the cases that a report may show, within a memory limit."""

from collections.abc import Callable
from dataclasses import dataclass

from vae3d.pictures.figures import CaseView

MAX_BYTES = 2**30
"""Memory of the views of one rank."""


@dataclass(frozen=True)
class _Entry:
    score: float
    view: Callable[[], CaseView]
    nbytes: int


class Gallery:
    """Views by place: the position of the case in the evaluation.

    Which cases are shown is known only after the last one. The best and the worst so far are
    always kept, the others up to MAX_BYTES, so that only the median may be missing.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}

    def take(self, place: int, score: float, view: Callable[[], CaseView], nbytes: int) -> None:
        """Keep what returns a view and holds `nbytes`, and drop others above MAX_BYTES.

        A higher score is better.
        """
        entries = self._entries
        entries[place] = _Entry(score, view, nbytes)
        while len(entries) > 2 and sum(e.nbytes for e in entries.values()) > MAX_BYTES:
            order = sorted(entries, key=lambda at: entries[at].score)
            # Of the views between best and worst the latest place is dropped.
            del entries[max(order[1:-1])]

    def get(self, place: int) -> CaseView | None:
        """Return the view of a place, None if it was dropped."""
        return self._entries[place].view() if place in self._entries else None
