"""`write_report`: the report of an evaluation."""

from pathlib import Path
from typing import Any

from vae3d.evaluation.evaluator import Evaluator
from vae3d.pictures.figures import Picture
from vae3d.pictures.probes import probes
from vae3d.report.page import write_page
from vae3d.report.result import EvaluationResult


def write_report(
    evaluator: Evaluator,
    result: EvaluationResult,
    indices: list[int],
    path: Path,
    about: dict[str, Any],
    curves: Path | None,
) -> None:
    """Write the report, an HTML file for a browser; every rank calls this, the main one writes.

    `curves` is the `metrics.csv` of the training, if there is one.
    """
    views = evaluator.views(result, indices)
    if evaluator.distributed.is_main:
        pictures = _probes(evaluator, result, indices)
        write_page(path, result, views, pictures, about, curves)


def _probes(
    evaluator: Evaluator, result: EvaluationResult, indices: list[int]
) -> list[tuple[str, Picture]]:
    """Return the pictures of the latents of the best and the worst case under change."""
    if not result.latents:
        return []
    chosen = result.ranks(result.chosen_by)
    numbers = [indices[place] for place in dict.fromkeys(chosen.values())]
    first, *others = (evaluator.cases[number] for number in (numbers[0], numbers[-1]))
    images = [case.range.to_model(case.volume().data) for case in (first, *others)]
    second = images[1] if len(numbers) > 1 else None
    return probes(
        evaluator.runner,
        images[0],
        second,
        result.latents,
        first.range,
        first.spacing,
        evaluator.config.seed,
    )
