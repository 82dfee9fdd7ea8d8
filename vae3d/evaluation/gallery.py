"""`Gallery`: views of the cases that a report may show, within a memory limit."""

from vae3d.pictures.figures import CaseView
from vae3d.report.result import EvaluationResult
from vae3d.scoring.scores import worth

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


def chosen_by(names: list[str]) -> str:
    """Return the name of the score that ranks the cases: PSNR, or else the first one."""
    return "psnr" if "psnr" in names else names[0]


def shown_places(result: EvaluationResult) -> dict[str, int]:
    """Return the places of the best, the median and the worst case, by label.

    Of two cases there is no median, of one only the best. Cases without the score do not count.
    """
    by = chosen_by(result.names)
    order = sorted(
        (place for place, case in enumerate(result.cases) if by in case.scores),
        key=lambda place: -worth(by, result.cases[place].scores[by]),
    )
    if not order:
        return {}
    labels = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    distinct = {1: ("best",), 2: ("best", "worst")}.get(len(order), (*labels,))
    return {label: labels[label] for label in distinct}
