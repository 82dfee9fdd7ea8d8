"""`Gallery`: views of the cases that a report may show, within a memory limit."""

from vae3d.pictures.figures import CaseView

MAX_BYTES = 2**30
"""Memory of the views of one rank."""


class Gallery:
    """Views by place: the position of the case in the evaluation.

    Which cases are shown is known only after the last one. The best and the worst so far are
    always kept, the others up to MAX_BYTES, so that only the median may be missing.
    """

    def __init__(self) -> None:
        self._views: dict[int, tuple[float, CaseView]] = {}

    def take(self, place: int, score: float, view: CaseView) -> None:
        """Keep a view, and drop others above MAX_BYTES; a higher score is better."""
        self._views[place] = score, view
        while len(self._views) > 2 and sum(map(_size, self._views.values())) > MAX_BYTES:
            order = sorted(self._views, key=lambda at: self._views[at][0])
            # Of the views between best and worst the latest place is dropped.
            del self._views[max(order[1:-1])]

    def get(self, place: int) -> CaseView | None:
        """Return the view of a place, None if it was dropped."""
        return self._views[place][1] if place in self._views else None


def _size(entry: tuple[float, CaseView]) -> int:
    _, view = entry
    return view.original.nbytes + view.reconstruction.nbytes
