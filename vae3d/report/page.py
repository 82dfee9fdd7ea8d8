"""`write_page`: the report as one HTML file that loads nothing."""

import base64
import csv
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

from vae3d.pictures.figures import DIVERGING, Picture, case_figure, error_limit
from vae3d.pictures.views import CaseView
from vae3d.report.result import EvaluationResult
from vae3d.runtime.files import write_text
from vae3d.runtime.threads import lanes, side_by_side
from vae3d.scoring.config import METRICS
from vae3d.version import __version__

PAGE_BYTES = 11_000_000
"""The volumes share what everything else leaves of it."""
LEAST_VIEW_BYTES = 200_000
PICTURE_BYTES = 2_000_000
PICTURE_WIDTHS = (1100, 820, 600, 440, 320, 200)
MOST_ROWS = 2000
MOST_POINTS = 400
LEVELS = 2047
"""Steps of the range of a scan: one HU or less, where a window has 80 of them or more."""
LIMIT_STEPS = 16
SCRIPTS = ("elements.js", "tables.js", "charts.js", "viewer.js", "app.js")


def write_page(
    path: Path,
    result: EvaluationResult,
    views: list[tuple[str, CaseView]],
    pictures: list[tuple[str, Picture]],
    run: dict[str, Any],
    curves: Path | None,
) -> None:
    """Writes the report for a browser, below 12 MB, whatever its volumes take.

    `views` are labelled cases, `pictures` captioned images, `run` says what was evaluated (name,
    weights, step, config, versions, command), `curves` is the training's `metrics.csv`.
    """
    known = {key: value for key, value in run.items() if key not in ("config", "versions")}
    page = {
        "run": plain({"name": "run", **known}),
        "config": yaml.safe_dump(plain(run.get("config")), sort_keys=False, allow_unicode=True),
        "versions": plain({"vae3d": __version__, **run.get("versions", {})}),
        "scores": [_summary(result, name) for name in result.names],
        "cases": _cases(result, {view.title for _, view in views}),
        "protocol": plain({k: v for k, v in result.protocol.items() if k != "scores"}),
        "latents": plain(result.latents),
        "curves": _curves(curves) if curves is not None and curves.exists() else [],
        "pictures": _probes(pictures),
        "diverging": DIVERGING.tolist(),
    }
    views = [(label, _finite(view)) for label, view in views]
    figures = [_figure(view) for _, view in views]
    used = len(dumps(page)) + sum(map(len, figures))
    count = max(1, len(views))
    share = max(LEAST_VIEW_BYTES, (PAGE_BYTES - used) // count)
    packed = side_by_side(lambda named: pack_view(named[1], share), views, lanes(count))
    page["views"] = [
        {"label": label, "figure": figure, **volumes}
        for (label, _), figure, volumes in zip(views, figures, packed, strict=True)
    ]
    write_text(path, _html(page))


def pack_view(view: CaseView, budget: int) -> dict[str, Any]:
    """The two volumes as text, of at most `budget` bytes, with what is needed to read them.

    A voxel is `origin + step * number`. Where the budget is short, only every `stride`-th voxel
    from `first` on is kept along an axis, the middle slice being among them.
    """
    volumes = [view.original, view.reconstruction]
    limit = error_limit(view.original, view.reconstruction)
    low, high = min(float(v.min()) for v in volumes), max(float(v.max()) for v in volumes)
    step = max((high - low) / 65_000, min((high - low) / LEVELS, limit / LIMIT_STEPS)) or 1.0
    origin = (low + high) / 2
    shape, strides = volumes[0].shape, [1] * volumes[0].ndim
    while True:
        first = [n // 2 % stride for n, stride in zip(shape, strides, strict=True)]
        cut = tuple(slice(a, None, stride) for a, stride in zip(first, strides, strict=True))
        shown = volumes[0][cut].shape
        # Two bits a voxel are not to be hoped for: not even tried.
        if math.prod(shown) <= budget * 1.5 or max(shown) == 1:
            packed = [pack(((v[cut] - origin) / step).round().astype("<i2")) for v in volumes]
            if sum(map(len, packed)) <= budget or max(shown) == 1:
                break
        strides = _coarser(strides, shown, view.spacing)
    return {
        **{name: getattr(view, name) for name in ("title", "unit", "low", "high")},
        "limit": limit,
        "shape": shown,
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
    """int16 as text: the steps from voxel to voxel, zigzag, low bytes first, deflated, base64.

    Zigzag (0, -1, 1, -2, ... as 0, 1, 2, 3, ...) leaves most high bytes zero. Of repetitions only
    runs are looked for: noise has no others, and looking takes four times as long.
    """
    steps = np.diff(numbers.ravel(), prepend=np.int16(0))
    zigzag = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    halves = zigzag.view(np.uint8).reshape(-1, 2).T
    deflate = zlib.compressobj(strategy=zlib.Z_RLE)
    return base64.b64encode(deflate.compress(halves.tobytes()) + deflate.flush()).decode()


def plain(value: Any) -> Any:
    """The value as JSON has it: NaN is null, infinity the text that JavaScript reads as such."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _coarser(strides: list[int], shown: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """The strides with that of the finest axes, which are equal up to one per cent, raised."""
    sizes = [s * stride for s, stride in zip(spacing, strides, strict=True)]
    finest = min(size for size, n in zip(sizes, shown, strict=True) if n > 1)
    return [
        stride + (n > 1 and size <= finest * 1.01)
        for stride, size, n in zip(strides, sizes, shown, strict=True)
    ]


def _finite(view: CaseView) -> CaseView:
    """The view with `low` where a network that came to grief has no number."""
    volumes, low = (view.original, view.reconstruction), np.float32(view.low)
    if all(np.isfinite(volume).all() for volume in volumes):
        return view
    original, reconstruction = (np.where(np.isfinite(v), v, low) for v in volumes)
    return replace(view, original=original, reconstruction=reconstruction)


def _summary(result: EvaluationResult, name: str) -> dict[str, Any]:
    low, high = result.interval(name)
    known = {"mean": result.mean(name), "std": result.spread(name), "low": low, "high": high}
    cases = len(result.values(name))
    return {"name": name, "unit": result.unit(name), "cases": cases, **plain(known)}


def _cases(result: EvaluationResult, shown: set[str]) -> dict[str, Any]:
    """The scores of the cases by name; of too many cases an even choice and the shown ones."""
    every = len(result.cases)
    chosen = {*np.linspace(0, every - 1, min(every, MOST_ROWS)).round().astype(int).tolist()}
    cases = [c for n, c in enumerate(result.cases) if n in chosen or c.case_id in shown]
    names = [name for name in result.names if any(name in case.scores for case in cases)]
    return {
        "every": every,
        "names": [case.case_id for case in cases],
        "ranges": [[_short(case.low), _short(case.high)] for case in cases],
        "scores": {n: [_short(case.scores.get(n, math.nan)) for case in cases] for n in names},
    }


def _short(value: float) -> Any:
    return plain(float(f"{value:.6g}"))


def _curves(path: Path) -> list[dict[str, Any]]:
    """The columns of a training's `metrics.csv` as points (step, value) of each split."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = [row for row in csv.DictReader(file) if _number(row.get("step")) is not None]
    names = [name for name in (rows[0] if rows else ()) if name]
    curves = []
    for name in names:
        if name in ("step", "epoch", "split"):
            continue
        series = {}
        for split in dict.fromkeys(str(row.get("split")) for row in rows):
            mine = [row for row in rows if row.get("split") == split]
            pairs = [(_number(row["step"]), _number(row[name])) for row in mine]
            points = [[x, y] for x, y in pairs if x is not None and y is not None]
            if points:
                series[split] = _thinned(points)
        # A term of the loss and a metric may share a name, but not a scale.
        alone = name in METRICS and len(series) > 1
        groups = [{split: points} for split, points in series.items()] if alone else [series]
        curves += [{"name": name, "alone": alone, "series": group} for group in groups if group]
    return curves


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _thinned(points: list[list[float]]) -> list[list[float]]:
    """At most MOST_POINTS points, each the mean of its neighbours."""
    parts = np.array_split(np.array(points), min(len(points), MOST_POINTS))
    return [[_short(x), _short(y)] for x, y in (part.mean(axis=0) for part in parts)]


def _figure(view: CaseView) -> str:
    told = {name: value for name, value in vars(view).items() if name != "stem"}
    return data_uri(case_figure(**told), PICTURE_WIDTHS[0])


def _probes(pictures: list[tuple[str, Picture]]) -> list[dict[str, str]]:
    for width in PICTURE_WIDTHS:
        probes = [{"caption": c, "source": data_uri(picture, width)} for c, picture in pictures]
        if sum(len(probe["source"]) for probe in probes) <= PICTURE_BYTES:
            break
    return probes


def data_uri(picture: Picture, width: int) -> str:
    """A picture (H, W, 3), made `width` pixels wide where it is wider, as a PNG in an address."""
    image = Image.fromarray(picture)
    if image.width > width:
        image = image.resize((width, max(1, round(image.height * width / image.width))))
    file = io.BytesIO()
    image.save(file, "png", compress_level=2)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _html(page: dict[str, Any]) -> str:
    style = _asset("style.css")
    script = "\n".join(map(_asset, SCRIPTS))
    # What stands in a script element ends where `</script` does, whoever wrote that.
    data = dumps(page, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {"style": style, "script": script, "style_hash": _hash(style), "data": data}
    return string.Template(_asset("index.html")).substitute(parts, script_hash=_hash(script))


def _asset(name: str) -> str:
    return (files("vae3d.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How a Content-Security-Policy names a text that it lets pass."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
