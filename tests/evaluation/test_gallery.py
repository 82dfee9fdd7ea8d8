"""`Gallery` and `ranks`: which cases a report shows, and which views stay in memory."""

import itertools
import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from vae3d.evaluation import gallery
from vae3d.evaluation.gallery import Gallery
from vae3d.pictures.figures import CaseView
from vae3d.report.result import CaseScore, EvaluationResult, chosen_by

VIEW_BYTES = 2 * 64
"""Bytes of one view: original and reconstruction of 4 x 4 float32 values."""


def view_of(place: int) -> CaseView:
    image = np.full((4, 4), place, np.float32)
    return CaseView(
        title=f"case {place}",
        stem=f"case_{place}",
        original=image,
        reconstruction=image,
        low=-1.0,
        high=1.0,
        unit="HU",
        spacing=(1.0, 1.0),
    )


def filled(scores: Sequence[float]) -> Gallery:
    """A gallery that took a view with each of these scores, in this order."""
    result = Gallery()
    for place, score in enumerate(scores):
        result.take(place, score, partial(view_of, place), VIEW_BYTES)
    return result


def places_in(views: Gallery, count: int) -> list[int]:
    return [place for place in range(count) if views.get(place) is not None]


def result_of(scores: Sequence[dict[str, float]], *names: str) -> EvaluationResult:
    cases = [CaseScore(f"case {n}", -1.0, 1.0, values) for n, values in enumerate(scores)]
    return EvaluationResult(cases, {"scores": dict.fromkeys(names, "")})


@pytest.mark.parametrize("views", [0, 1, 2, 3, 4])
def test_best_and_worst_are_kept_in_every_order(
    monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", views * VIEW_BYTES)
    for order in itertools.permutations(range(5)):
        held = places_in(filled(order), 5)
        assert {order.index(4), order.index(0)} <= {*held}, order
        assert len(held) == max(2, views), order


def test_nothing_is_dropped_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", 5 * VIEW_BYTES)
    views = filled([3.0, 1.0, 2.0, 5.0, 4.0])
    for place in range(5):
        view = views.get(place)
        assert view is not None
        assert view.title == f"case {place}"
    assert views.get(5) is None


def test_the_latest_case_between_best_and_worst_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", 3 * VIEW_BYTES)
    assert places_in(filled([1.0, 9.0, 5.0, 4.0]), 4) == [0, 1, 2]
    # A new best case is kept, and the previous best is one between best and worst from then on.
    assert places_in(filled([1.0, 8.0, 5.0, 9.0]), 4) == [0, 1, 3]
    assert places_in(filled([1.0, 5.0, 8.0, 9.0, 0.0]), 5) == [0, 3, 4]


def test_infinite_scores_rank_as_best_and_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", 0)
    assert places_in(filled([30.0, math.inf, -math.inf, 40.0]), 4) == [1, 2]


def test_a_single_case_is_kept_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MAX_BYTES", 0)
    assert places_in(filled([1.0]), 1) == [0]


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["psnr"], "psnr"), (["ssim", "psnr"], "psnr"), (["mae", "ssim"], "mae")],
)
def test_cases_are_ranked_by_psnr_or_the_first_score(names: list[str], expected: str) -> None:
    assert chosen_by(names) == expected


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([], {}),
        ([20.0], {"best": 0}),
        ([20.0, 30.0], {"best": 1, "worst": 0}),
        ([20.0, 30.0, 25.0], {"best": 1, "median": 2, "worst": 0}),
        ([20.0, 30.0, 25.0, 27.0], {"best": 1, "median": 2, "worst": 0}),
        ([5.0, 4.0, 3.0, 2.0, 1.0], {"best": 0, "median": 2, "worst": 4}),
        ([7.0, 7.0, 7.0], {"best": 0, "median": 1, "worst": 2}),
        ([20.0, math.inf, 25.0], {"best": 1, "median": 2, "worst": 0}),
    ],
    ids=str,
)
def test_best_median_and_worst_are_distinct_cases(
    scores: list[float], expected: dict[str, int]
) -> None:
    assert result_of([{"psnr": score} for score in scores], "psnr").ranks("psnr") == expected


def test_a_lower_error_is_better() -> None:
    result = result_of([{"mae": 3.0}, {"mae": 1.0}, {"mae": 2.0}], "mae")
    assert result.ranks(result.chosen_by) == {"best": 1, "median": 2, "worst": 0}


def test_cases_without_the_score_are_not_shown() -> None:
    result = result_of([{}, {"psnr": 20.0}, {"ssim": 0.9}, {"psnr": 30.0}], "ssim", "psnr")
    assert result.ranks(result.chosen_by) == {"best": 3, "worst": 1}
    assert result_of([{}, {}], "psnr").ranks("psnr") == {}


def test_each_score_ranks_the_cases_itself() -> None:
    scores = [{"psnr": 20.0, "mae": 1.0}, {"psnr": 30.0, "mae": 3.0}, {"psnr": 25.0, "mae": 2.0}]
    result = result_of(scores, "psnr", "mae")
    assert result.ranks("psnr") == {"best": 1, "median": 2, "worst": 0}
    assert result.ranks("mae") == {"best": 0, "median": 2, "worst": 1}
