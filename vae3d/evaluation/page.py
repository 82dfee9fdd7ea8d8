"""`write_report`: the report of an evaluation."""

import math
from pathlib import Path
from typing import Any

from vae3d.charts.histogram import histogram_chart
from vae3d.evaluation.evaluator import Evaluator
from vae3d.evaluation.rates import CSV, PNG, measured, write_rates
from vae3d.logger.console import ProgressBar
from vae3d.pictures.figures import CaseView, Picture
from vae3d.pictures.probes import probes
from vae3d.report.page import write_page
from vae3d.report.result import EvaluationResult
from vae3d.runtime.messages import counted
from vae3d.scoring.codecs import bits_of_latent
from vae3d.values.histogram import pooled


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
        values = _values(evaluator, result, indices)
        rates = _rates(evaluator, views, path.parent)
        write_page(path, result, views, pictures, about, curves, values, rates)


def _rates(
    evaluator: Evaluator, views: list[tuple[str, CaseView]], folder: Path
) -> dict[str, str] | None:
    """Write rate and distortion of the shown cases, and return the chart; None without codecs."""
    model, codecs = evaluator.runner.model, evaluator.config.baselines
    if not codecs:
        for name in (CSV, PNG):
            (folder / name).unlink(missing_ok=True)
        return None
    cases = [view for _, view in views]
    shapes = [view.original.shape for view in cases]
    channels = model.describe()["channels"]
    rates = [bits_of_latent(model, s) / (channels * math.prod(s)) for s in shapes]
    return write_rates(folder, measured(cases, rates, codecs, ProgressBar("rates")))


def _values(
    evaluator: Evaluator, result: EvaluationResult, indices: list[int]
) -> dict[str, str] | None:
    """Return a chart of the values of the scored cases and what it shows; None if unknown."""
    cases, contract = evaluator.cases, evaluator.cases.contract
    numbers = {cases.case_id(index): index for index in indices}
    fixed = contract.kind == "window"
    known = []
    for case in result.cases:
        statistics = cases.statistics(numbers[case.case_id])
        if statistics is not None:
            own = (case.low, case.high - case.low)
            known.append((statistics, (0.0, 1.0) if fixed else own))
    if not known:
        return None
    low, high = (contract.low, contract.high) if fixed else (0.0, 1.0)
    edges, shares = pooled(known)
    text = (
        f"Values of {counted(len(known))} in {contract.unit}, and the window [{low:g}, {high:g}] "
        "that becomes [-1, 1] for the model."
        if fixed
        else f"Values of {counted(len(known))} as shares of the range of each scan, which becomes "
        "[-1, 1] for the model."
    )
    chart = histogram_chart(edges.tolist(), shares.tolist(), (low, high))
    return {"svg": chart.svg(text), "text": text}


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
