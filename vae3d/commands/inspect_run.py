"""`vae3d inspect`: the cases, their totals and some of their patches, before a long training."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

from vae3d.commands.inspect import InspectConfig
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.check import check_values
from vae3d.data.inspection import CaseReport, inspect_cases
from vae3d.data.patches import Draw, PatchDataset
from vae3d.data.stored import StoredCases
from vae3d.errors import DataError
from vae3d.lists.left_out import listed
from vae3d.logger.console import ProgressBar, table
from vae3d.patching.samplers import PatchSampler, build_sampler
from vae3d.pictures.media import write_png
from vae3d.pictures.montage import Tile, montage
from vae3d.report.case_table import COLUMNS, row, totals, write_table
from vae3d.runtime.choices import SPLITS
from vae3d.runtime.files import write_json
from vae3d.runtime.memory import GIB
from vae3d.runtime.messages import counted
from vae3d.runtime.paths import user_path
from vae3d.runtime.run_list import size_text
from vae3d.runtime.seeding import numpy_generator
from vae3d.runtime.shell import next_command

log = logging.getLogger(__name__)

TERMINAL_COLUMNS = 6
"""Columns on the terminal; the others are listed below the table as odd."""
READING_SECONDS = 1.0
"""Time for which patches are read to measure the speed."""


def inspect(config: InspectConfig) -> Path:
    """Write `cases.csv`, `summary.json` and `montage.png`; print the table; return the folder.

    Raises:
        UserError: the data do not exist, or none of the cases can be used.
    """
    # Whoever inspects wants to see what does not fit.
    cases = open_cases(config.data.lenient(), ProgressBar("prepare"))
    if isinstance(cases, StoredCases):
        log.info(f"the cases are prepared in the store {cases.folder}")
    patching = build_sampler(config.patching, cases.spatial_dims)
    reports = inspect_cases(cases, getattr(patching, "size", None))
    indices, errors = cases.usable(config.split)
    if errors and not indices.size:
        first = next(iter(errors.values()))
        raise DataError(
            f"none of {counted(len(errors), 'case')} of {config.split} can be used, "
            f"the first: {first}"
        )
    dataset = PatchDataset(cases, indices, patching, config.seed)
    if not len(dataset):
        raise DataError(f"split={config.split} holds no case; choose another")
    output = user_path(config.output)
    write_table(output / "cases.csv", reports, cases.left_out)
    summary = {
        **totals(reports),
        "patients": {split: cases.num_groups(cases.usable(split)[0]) for split in SPLITS},
        "patches": patch_totals(cases, patching, config),
        "reading": reading(dataset, cases),
        "left_out": cases.left_out,
    }
    write_json(output / "summary.json", summary)
    sample = draws(dataset, config.count, config.seed)
    tiles = [Tile(cases[dataset.case_of(draw)[0]], dataset.region(draw)) for draw in sample]
    write_png(output / "montage.png", montage(tiles))
    show(reports, summary, config, output)
    check_values(cases)
    return output


def patch_totals(cases: Cases, patching: PatchSampler, config: InspectConfig) -> dict[str, int]:
    """Return the number of patches of an epoch for each split."""
    usable = {split: cases.usable(split)[0] for split in SPLITS}
    return {
        split: len(PatchDataset(cases, indices, patching, config.seed))
        for split, indices in usable.items()
    }


def reading(dataset: PatchDataset, cases: Cases) -> dict[str, float]:
    """Return the measured patches per second of this process, and the store's size in GiB."""
    start, count = time.perf_counter(), 0
    for draw in draws(dataset, 2**30, seed=1):
        dataset[draw]
        count += 1
        if time.perf_counter() - start > READING_SECONDS:
            break
    result = {"patches_per_second": count / (time.perf_counter() - start)}
    if isinstance(cases, StoredCases):
        result["store_gib"] = cases.num_bytes() / GIB
    return result


def draws(dataset: PatchDataset, count: int, seed: int) -> list[Draw]:
    """Return up to `count` random patches of the first epoch, without repetition."""
    numbers = numpy_generator(seed, "inspect").permutation(len(dataset))[:count]
    return [Draw(0, int(number), 0.0) for number in numbers]


def show(
    reports: list[CaseReport], summary: dict[str, Any], config: InspectConfig, output: Path
) -> None:
    """Print the cases, odd ones first, what is odd about them, and the totals."""
    ordered = sorted(reports, key=lambda report: (not report.odd, report.case_id))[: config.rows]
    title = f"{counted(len(reports))}, {summary['odd']} of them odd"
    table(title, COLUMNS[:TERMINAL_COLUMNS], [row(r)[:TERMINAL_COLUMNS] for r in ordered])
    for report in ordered:
        if report.odd:
            log.info(f"odd: {report.case_id}: {'; '.join(report.odd)}")
    if len(reports) > config.rows:
        log.info(f"{counted(len(reports) - config.rows, 'more case')} in {output / 'cases.csv'}")
    for line in listed(summary["left_out"], config.rows):
        log.info(line)
    cases, patients, patches = summary["cases"], summary["patients"], summary["patches"]
    # Without groups each case counts as a patient, which is not known.
    known = patients != cases
    for split in SPLITS:
        of = f" of {counted(patients[split], 'patient')}" if known else ""
        log.info(f"{split:5s} {counted(cases[split])}{of}, {patches[split]} patches an epoch")
    speed = f"{summary['reading']['patches_per_second']:.0f} patches a second from one process"
    store = summary["reading"].get("store_gib")
    size = "" if store is None else f", store {size_text(round(store * GIB))}"
    log.info(f"{summary['voxels'] / 1e6:.1f} million voxels{size}, {speed}")
    log.info(f"patches: {output / 'montage.png'}")
    words = [word for word in sys.argv[1:] if word.startswith(("data", "patching"))]
    log.info(next_command("train", *words))
