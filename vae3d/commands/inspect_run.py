"""`vae3d inspect`: the cases, their totals and some of their patches, before a long training."""

import logging
import sys
from pathlib import Path

from vae3d.commands.inspect import InspectConfig
from vae3d.data.build import open_cases
from vae3d.data.check import check_values
from vae3d.data.stored import StoredCases
from vae3d.errors import DataError
from vae3d.files.atomic import write_json
from vae3d.files.checksums import sealing
from vae3d.files.paths import user_path
from vae3d.files.sole_writer import sole_writer
from vae3d.inspection.cases import inspect_cases
from vae3d.inspection.table import show_cases, totals, write_table
from vae3d.inspection.trial import draws, patch_totals, reading
from vae3d.loading.patches import PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.patching.samplers import build_sampler
from vae3d.pictures.media import write_png
from vae3d.pictures.montage import Tile, montage
from vae3d.runtime.choices import SPLITS
from vae3d.runtime.messages import counted
from vae3d.runtime.shell import next_command

log = logging.getLogger(__name__)


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
    with sole_writer(output), sealing(output, "cases.csv", "summary.json", "montage.png"):
        write_table(output / "cases.csv", reports, cases.left_out)
        summary = {
            **totals(reports),
            "patients": {split: cases.num_groups(cases.usable(split)[0]) for split in SPLITS},
            "patches": patch_totals(cases, patching, config.seed),
            "reading": reading(dataset, cases),
            "left_out": cases.left_out,
        }
        write_json(output / "summary.json", summary)
        sample = draws(dataset, config.count, config.seed)
        tiles = [Tile(cases[dataset.case_of(draw)[0]], dataset.region(draw)) for draw in sample]
        write_png(output / "montage.png", montage(tiles))
    show_cases(reports, summary, config.rows, output)
    log.info(f"patches: {output / 'montage.png'}")
    words = [word for word in sys.argv[1:] if word.startswith(("data", "patching"))]
    log.info(next_command("train", *words))
    check_values(cases)
    return output
