"""`Gallery`: the cases that a report shows, kept as they come by."""

from vae3d.evaluation.metrics import better_of
from vae3d.evaluation.report import EvaluationResult
from vae3d.evaluation.views import CaseView

MAX_BYTES = 2**28


class Gallery:
    """Views by place, as many as MAX_BYTES hold: which cases will be shown is known at the end."""

    def __init__(self) -> None:
        self._views: dict[int, CaseView] = {}
        self._room = MAX_BYTES

    def take(self, place: int, view: CaseView) -> None:
        """Keeps a view if there is room."""
        size = view.original.nbytes + view.reconstruction.nbytes
        if size <= self._room:
            self._views[place] = view
            self._room -= size

    def get(self, place: int) -> CaseView | None:
        """The view of this place, if it was kept."""
        return self._views.get(place)


def chosen_places(result: EvaluationResult) -> dict[str, int]:
    """The places of the best, the median and the worst case by PSNR, or else the first metric."""
    by = "psnr" if "psnr" in result.names else result.names[0]
    order = sorted(
        (place for place, case in enumerate(result.cases) if by in case.scores),
        key=lambda place: -better_of(by) * result.cases[place].scores[by],
    )
    if not order:
        return {}
    labels = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    shown = {1: ("best",), 2: ("best", "worst")}.get(len(order), (*labels,))
    return {label: labels[label] for label in shown}
