"""`Gallery`: the cases that a report shows, kept as they come by."""

from vae3d.pictures.views import CaseView
from vae3d.report.result import EvaluationResult
from vae3d.scoring.scores import worth

MAX_BYTES = 2**30


class Gallery:
    """Views by place: which cases will be shown is known at the end.

    The best and the worst so far are always kept, of the others as many as MAX_BYTES hold, so that
    at most the median is missing.
    """

    def __init__(self) -> None:
        self._views: dict[int, tuple[float, CaseView]] = {}

    def take(self, place: int, score: float, view: CaseView) -> None:
        """Keeps a view, and lets others go where there is no room; a larger score is better."""
        self._views[place] = score, view
        while len(self._views) > 2 and sum(map(_size, self._views.values())) > MAX_BYTES:
            order = sorted(self._views, key=lambda at: self._views[at][0])
            # Of the middle ones the last to come goes: the others' turn has cost as much.
            del self._views[max(order[1:-1])]

    def get(self, place: int) -> CaseView | None:
        """The view of this place, if it was kept."""
        return self._views[place][1] if place in self._views else None


def _size(entry: tuple[float, CaseView]) -> int:
    _, view = entry
    return view.original.nbytes + view.reconstruction.nbytes


def chosen_by(names: list[str]) -> str:
    """The score by which cases are chosen to be shown: PSNR, or else the first one."""
    return "psnr" if "psnr" in names else names[0]


def chosen_places(result: EvaluationResult) -> dict[str, int]:
    """The places of the best, the median and the worst case."""
    by = chosen_by(result.names)
    order = sorted(
        (place for place, case in enumerate(result.cases) if by in case.scores),
        key=lambda place: -worth(by, result.cases[place].scores[by]),
    )
    if not order:
        return {}
    labels = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    shown = {1: ("best",), 2: ("best", "worst")}.get(len(order), (*labels,))
    return {label: labels[label] for label in shown}
