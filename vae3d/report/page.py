"""`write_page`: the report as one HTML file without external resources."""

import base64
import hashlib
import io
import math
import string
import zlib
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from vae3d.charts.chart import curve_chart, step_axis
from vae3d.charts.history import History
from vae3d.files.atomic import write_text
from vae3d.pictures.figures import DIVERGING, CaseView, Picture, case_figure, error_limit
from vae3d.report.facts import fact_lines
from vae3d.report.result import EvaluationResult, is_plain
from vae3d.report.rows import infinite_text, mean_of
from vae3d.report.spectra import sharpness_section
from vae3d.runtime.threads import lanes, map_concurrently
from vae3d.scoring.config import METRICS
from vae3d.scoring.scores import better_of, label_of, metric_of, places_of, unit_text
from vae3d.version import __version__

PAGE_BYTES = 11_000_000
"""Target size of the page. The volumes share what the rest of the page leaves of it."""
MIN_VIEW_BYTES = 200_000
"""Bytes for the volumes of a case, at least."""
PICTURE_BYTES = 2_000_000
"""Bytes for all pictures, at most."""
PICTURE_WIDTHS = (1100, 820, 600, 440, 320, 200)
"""Widths in pixels to try until the pictures fit, widest first."""
MAX_ROWS = 2000
"""Cases in the table, at most, apart from the shown ones."""
CURVE_KINDS = {"train": "series-0", "val": "series-1"}
"""The colour of each split's curves."""
LEVELS = 2047
"""Steps over the range of a scan, at least: one HU or less for a range of up to 2047 HU."""
LIMIT_STEPS = 16
"""Steps up to the limit of the difference, at least."""
BETTER = {1: "higher is better", -1: "lower is better", 0: "1 is best"}
FIRST = ("psnr", "ssim", "mae", "ms_ssim", "seam", "fsc_05", "rmse", "mse")
"""Metrics that tables begin with, in this order."""
SCRIPTS = ("elements.js", "tables.js", "charts.js", "viewer.js", "app.js")


def write_page(
    path: Path,
    result: EvaluationResult,
    views: list[tuple[str, CaseView]],
    pictures: list[tuple[str, Picture]],
    run: dict[str, Any],
    curves: Path | None,
    values: dict[str, str] | None = None,
    rates: dict[str, str] | None = None,
) -> None:
    """Write the report as an HTML file of at most 12 MB, whatever the size of the volumes.

    `views` are labelled cases and `pictures` captioned images. `run` states what was evaluated
    (name, weights, config, versions, command); at the top of the page are the facts and the
    warnings of the result. `curves` is the `metrics.csv` of the training, `values`
    the chart (`svg`) of the values of the cases against their range with a sentence (`text`),
    `rates` the chart of rate and distortion.
    """
    about = {key: value for key, value in run.items() if key not in ("config", "versions")}
    ranks = {name: _ranked(result, name) for name in result.names if is_plain(name)}
    shown = {case for labels in ranks.values() for case in labels.values()}
    page = {
        "run": plain(
            {
                "name": "run",
                **about,
                "facts": fact_lines(result.facts),
                "warnings": result.warnings,
            }
        ),
        "config": yaml.safe_dump(plain(run.get("config")), sort_keys=False, allow_unicode=True),
        "versions": plain({"vae3d": __version__, **run.get("versions", {})}),
        "scores": [_summary(result, name) for name in result.names],
        "ranks": ranks,
        "chosen": label_of(result.chosen_by) if result.names else "",
        "cases": _cases(result, {*shown, *(view.title for _, view in views)}),
        "protocol": plain({k: v for k, v in result.protocol.items() if k != "scores"}),
        "latents": plain(result.latents),
        "sharpness": plain(sharpness_section(result.sharpness)),
        "curves": _curves(curves) if curves is not None and curves.exists() else [],
        "values": values,
        "rates": rates,
        "pictures": _probes(pictures),
        "diverging": DIVERGING.tolist(),
    }
    views = [(label, _finite(view)) for label, view in views]
    figures = [_figure(view) for _, view in views]
    used = len(dumps(page)) + sum(map(len, figures))
    count = max(1, len(views))
    share = max(MIN_VIEW_BYTES, (PAGE_BYTES - used) // count)
    packed = map_concurrently(lambda view: pack_view(view[1], share), views, lanes(count))
    page["views"] = [
        {"label": label, "figure": figure, **volumes}
        for (label, _), figure, volumes in zip(views, figures, packed, strict=True)
    ]
    write_text(path, _html(page))


def pack_view(view: CaseView, budget: int) -> dict[str, Any]:
    """Return the two volumes as text of at most `budget` bytes, with the keys to decode them.

    A voxel is `origin + step * number`. If the budget is too small, only every `stride`-th voxel
    along an axis is included, starting at `first`, so that the middle slice is among them.
    """
    volumes = [view.original, view.reconstruction]
    limit = error_limit(view.original, view.reconstruction)
    low, high = min(float(v.min()) for v in volumes), max(float(v.max()) for v in volumes)
    step = max((high - low) / 65_000, min((high - low) / LEVELS, limit / LIMIT_STEPS)) or 1.0
    origin = (low + high) / 2
    shape, strides = volumes[0].shape, [1] * volumes[0].ndim
    while True:
        first = [n // 2 % stride for n, stride in zip(shape, strides, strict=True)]
        samples = tuple(slice(a, None, stride) for a, stride in zip(first, strides, strict=True))
        included = volumes[0][samples].shape
        # Volumes do not compress to two bits a voxel: do not try.
        if math.prod(included) <= budget * 1.5 or max(included) == 1:
            packed = [pack(((v[samples] - origin) / step).round().astype("<i2")) for v in volumes]
            if sum(map(len, packed)) <= budget or max(included) == 1:
                break
        strides = _coarser(strides, included, view.spacing)
    return {
        **{name: getattr(view, name) for name in ("title", "unit", "low", "high")},
        "limit": limit,
        "shape": included,
        "fullShape": shape,
        "first": first,
        "stride": strides,
        "spacing": [s * stride for s, stride in zip(view.spacing, strides, strict=True)],
        "origin": origin,
        "step": step,
        "original": packed[0],
        "reconstruction": packed[1],
    }


def pack(numbers: NDArray[np.int16]) -> str:
    """Return int16 as text: differences of voxels, zigzag, low bytes first, deflate, base64.

    Zigzag (0, -1, 1, -2, ... as 0, 1, 2, 3, ...) leaves most high bytes zero. Deflate searches for
    runs only (Z_RLE): noise has no other repetitions, and the full search takes four times as
    long.
    """
    steps = np.diff(numbers.ravel(), prepend=np.int16(0))
    zigzag = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    halves = zigzag.view(np.uint8).reshape(-1, 2).T
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)
    return base64.b64encode(deflate.compress(halves.tobytes()) + deflate.flush()).decode()


def plain(value: Any) -> Any:
    """Return the value as JSON values; NaN is null, infinity the text that JavaScript parses."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _coarser(strides: list[int], shape: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """Return the strides, raised by 1 along the finest axes (equal up to 1 %)."""
    sizes = [s * stride for s, stride in zip(spacing, strides, strict=True)]
    finest = min(size for size, n in zip(sizes, shape, strict=True) if n > 1)
    return [
        stride + (n > 1 and size <= finest * 1.01)
        for stride, size, n in zip(strides, sizes, shape, strict=True)
    ]


def _finite(view: CaseView) -> CaseView:
    """Return the view with `low` in place of NaN and infinity, which a diverged model outputs."""
    volumes, low = (view.original, view.reconstruction), np.float32(view.low)
    if all(np.isfinite(volume).all() for volume in volumes):
        return view
    original, reconstruction = (np.where(np.isfinite(v), v, low) for v in volumes)
    return replace(view, original=original, reconstruction=reconstruction)


def _summary(result: EvaluationResult, name: str) -> dict[str, Any]:
    """Return the statistics of a score over the cases."""
    low, high = result.interval(name)
    smallest, largest = result.extent(name)
    numbers = {
        **{"mean": mean_of(result, name), "std": result.spread(name), "low": low, "high": high},
        **{"min": smallest, "max": largest},
    }
    return {
        "name": name,
        "label": label_of(metric_of(name)),
        "places": places_of(name),
        "better": BETTER[better_of(name)],
        "rank": _rank(metric_of(name)),
        "unit": unit_text(result.unit(name)),
        "cases": len(result.values(name)),
        "infinite": infinite_text(result, name),
        **plain(numbers),
    }


def _rank(metric: str) -> int:
    """Return the place of a metric in tables."""
    order = [*FIRST, *METRICS]
    return order.index(metric) if metric in order else len(order)


def _ranked(result: EvaluationResult, name: str) -> dict[str, str]:
    """Return the best, the median and the worst case by a score."""
    return {label: result.cases[place].case_id for label, place in result.ranks(name).items()}


def _cases(result: EvaluationResult, shown: set[str]) -> dict[str, Any]:
    """Return the scores of the cases; of too many, evenly spaced ones and those in `shown`."""
    every = len(result.cases)
    chosen = {*np.linspace(0, every - 1, min(every, MAX_ROWS)).round().astype(int).tolist()}
    cases = [c for n, c in enumerate(result.cases) if n in chosen or c.case_id in shown]
    names = [name for name in result.names if any(name in case.scores for case in cases)]
    return {
        "every": every,
        "names": [case.case_id for case in cases],
        "ranges": [[_short(case.low), _short(case.high)] for case in cases],
        "scores": {n: [_short(case.scores.get(n, math.nan)) for case in cases] for n in names},
    }


def _short(value: float) -> Any:
    """Return the value as JSON value with six significant digits."""
    return plain(float(f"{value:.6g}"))


def _curves(path: Path) -> list[dict[str, Any]]:
    """Return charts of the columns of a training's `metrics.csv`, a curve for each split.

    With the SVG come the points and the ends of the horizontal axis, for the readout under the
    pointer.
    """
    history = History(path)
    history.read_new_rows()
    axis = step_axis(history.step)
    charts = []
    for name in dict.fromkeys(name for _, name in history.curves):
        splits = [split for split in CURVE_KINDS if (split, name) in history.curves]
        # A loss term and a metric of the same name have different scales: one chart for each.
        alone = name in METRICS and len(splits) > 1
        for group in [[split] for split in splits] if alone else [splits]:
            points = {split: history.curves[split, name].points for split in group}
            curves = [(CURVE_KINDS[split], points[split]) for split in group]
            label = f"{name} over the steps, at the end {history.last[group[-1], name]:.4g}"
            charts.append(
                {
                    "name": name,
                    "label": label_of(name) if name in METRICS else "",
                    "alone": alone,
                    "series": {s: [[_short(x), _short(y)] for x, y in points[s]] for s in group},
                    "svg": curve_chart(curves, history.step, log=name != "lr").svg(label),
                    "axis": [axis.low, axis.high, axis.start, axis.end],
                }
            )
    return charts


def _figure(view: CaseView) -> str:
    """Return the figure of a case as a data URI, for browsers that cannot unpack the volumes."""
    arguments = {name: value for name, value in vars(view).items() if name != "stem"}
    return data_uri(case_figure(**arguments), PICTURE_WIDTHS[0])


def _probes(pictures: list[tuple[str, Picture]]) -> list[dict[str, str]]:
    """Return captions and data URIs, at the widest of PICTURE_WIDTHS that fits PICTURE_BYTES."""
    for width in PICTURE_WIDTHS:
        probes = [{"caption": c, "source": data_uri(picture, width)} for c, picture in pictures]
        if sum(len(probe["source"]) for probe in probes) <= PICTURE_BYTES:
            break
    return probes


def data_uri(picture: Picture, width: int) -> str:
    """Return a picture (H, W, 3), reduced to at most `width` pixels, as a data URI of a PNG."""
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    file = io.BytesIO()
    image.save(file, "png", compress_level=2)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _html(page: dict[str, Any]) -> str:
    """Return the page with its style, scripts and data inlined."""
    style = _asset("style.css")
    script = "\n".join(map(_asset, SCRIPTS))
    # `</script` in the data would end the script element, so every `<` is escaped.
    data = dumps(page, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"style": style, "script": script, "style_hash": _hash(style), "data": data}
    return string.Template(_asset("index.html")).substitute(parts, script_hash=_hash(script))


def _asset(name: str) -> str:
    """Return the text of a file in `assets`."""
    return (files("vae3d.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows this text."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
