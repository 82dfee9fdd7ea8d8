"""docs/gpu.md, from the rows that were measured."""

from collections.abc import Iterator, Sequence
from typing import Any

from gpu.results import Results, Row

HEAD = """# GPU

<!-- Written by `make gpu`; change scripts/gpu/page.py instead. -->

`make gpu PART=tests` (then `train`, `inference`, `peers` and `volume`) tests vae3d on a CUDA
device and measures its speed and memory there. A part takes at most nine minutes. If it ends with
exit code 75, some rows are still to be measured: the same command continues. `make gpu TINY=1`
does all of it on a CPU in a small size, and shows that it works.

A machine without a package index needs Python 3.12 and torch 2.11 or newer. On a machine with an
index `make gpu-wheels WHEELS=folder` downloads everything else into a folder. Copy it along, and
add `WHEELS=folder` to each `make gpu`.

On a CPU a run is bit-identical when it is repeated or resumed. On a GPU it is not: cuDNN chooses
kernels by their speed, and some of them add in any order. Losses of two runs differ by rounding.
"""
NOTHING = """
## Results

No GPU has run it yet: there are no results. Everything that vae3d does for a GPU was written
from the documentation and the source of torch, and tested on a CPU as far as that is possible.
"""


def page(results: Results | None) -> str:
    """Return the page; without results it states that there are none."""
    if results is None or not results.rows:
        return HEAD + NOTHING
    about = results.about
    machine = (
        f"{about['device']}, torch {about['torch']}, cuDNN {about['cudnn']}, Python "
        f"{about['python']}, commit {about['commit'] or 'unknown'}"
    )
    sections = [*_tests(results), *_speeds(results), *_peers(results), *_volume(results)]
    return "\n".join([f"{HEAD}\n## Results\n\n{machine}.", *sections, ""])


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _tests(results: Results) -> Iterator[str]:
    rows = []
    for key, row in results.of("tests").items():
        outcomes = [*row.get("outcomes", {}).values()]
        counts = [outcomes.count(kind) for kind in ("passed", "skipped")]
        rows.append([key, *counts, row.get("error", "")])
    if rows:
        yield f"\n### Tests\n\n{table(['test', 'passed', 'skipped', 'error'], rows)}"


def _speeds(results: Results) -> Iterator[str]:
    columns = [
        "model", "size", "precision", "Mvoxel/s", "GiB", "share of a matrix product",
        "share of a convolution",
    ]  # fmt: skip
    titles = {"train": "A training step", "inference": "A reconstruction"}
    for part, title in titles.items():
        rows = [
            [row["model"], f"{row['batch']} x {row['side']}^3", _precision(row, results)]
            + [_mega(row["voxels_per_second"]), _number(row["gib"])]
            + [f"{row[name]:.0%}" for name in ("share_of_product", "share_of_convolution")]
            for row in results.of(part).values()
            if "model" in row
        ]
        rows += [
            [*key.split()[:2], " ".join(key.split()[2:]), row["error"], "", "", ""]
            for key, row in results.of(part).items()
            if "error" in row
        ]
        if rows:
            yield f"\n### {title}\n\n{table(columns, rows)}"
    norms = [row for row in results.of("train").values() if "ms" in row]
    if norms:
        rows = [[row["channels"], *(_number(ms) for ms in row["ms"].values())] for row in norms]
        yield f"\n### Norms, ms\n\n{table(['channels', *norms[0]['ms']], rows)}"


def _peers(results: Results) -> Iterator[str]:
    rows = []
    for key, row in results.of("peers").items():
        if reason := row.get("error") or row.get("skipped"):
            rows.append([key, "", reason, "", "", ""])
            continue
        peer = row["voxels_per_second"][row["peer"]]
        for name, speed in row["voxels_per_second"].items():
            size = f"{row['batch']} x {row['side']}^3, {_precision(row, results)}"
            measured = [_mega(speed), f"{speed / peer:.2f}", _number(row["gib"][name])]
            rows.append([f"{row['part']} {size}", name, f"like {row['peer']}", *measured])
    if rows:
        columns = ["", "network", "shape", "Mvoxel/s", "times the peer", "GiB"]
        yield f"\n### Peers\n\nNetworks of the same shape, alternating.\n\n{table(columns, rows)}"


def _volume(results: Results) -> Iterator[str]:
    part = results.of("volume")
    slabs = [
        [row["model"], _precision(row, results), row["memory"] or "no limit", row["way"]]
        + [_number(row[name]) for name in ("planned_gib", "gib", "first_seconds", "seconds")]
        for row in part.values()
        if "way" in row
    ]
    slabs += [[key, row["error"], *[""] * 6] for key, row in part.items() if "error" in row]
    columns = ["model", "precision", "memory", "way", "planned GiB", "GiB", "first s", "s"]
    if slabs:
        yield f"\n### A scan of 512 x 512 x 300\n\n{table(columns, slabs)}\n"
    for row in part.values():
        if "apart" in row:
            device, cpu = (_number(row["seconds"][name]) for name in ("device", "cpu"))
            yield (
                f"* Patches of `{row['model']}` take {device} s stitched on the device and "
                f"{cpu} s stitched on the CPU; the results differ by {row['apart']:.1e} at most."
            )
    if "seconds" in part.get("scores", {}):
        yield f"* Its scores by tissue take {_number(part['scores']['seconds'])} s."
    for row in part.values():
        if "idle_share" in row:
            yield (
                f"* With data.workers={row['workers']} the device had nothing to do at "
                f"{row['idle_share']:.0%} of the steps when the next patches came."
            )


def _precision(row: Row, results: Results) -> str:
    name = row["precision"]
    if name == "fp32" and results.about["kind"] == "cuda":
        name = "TF32"
    return f"{name}, compiled" if row.get("compiled") else str(name)


def _mega(value: float) -> str:
    return _number(value / 1e6)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
