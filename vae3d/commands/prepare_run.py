"""`vae3d prepare`: scans into a store, with a report of the skipped scans and the reasons."""

import logging
import sys
import time
from pathlib import Path

from vae3d.commands.prepare import PrepareConfig
from vae3d.data.build import build_source
from vae3d.data.config import PreparableData
from vae3d.data.stored import resolve_store, warn_of_labels
from vae3d.errors import DataError
from vae3d.logger.console import ProgressBar, table
from vae3d.runtime.memory import gib
from vae3d.runtime.messages import counted
from vae3d.runtime.shell import next_command
from vae3d.store.catalog import Catalog
from vae3d.store.prepare import Preparation
from vae3d.store.settings import CATALOG
from vae3d.store.shard import Shard
from vae3d.values.value_check import ValueCheck, check_percentiles

log = logging.getLogger(__name__)

MAX_ROWS = 50


def prepare(config: PrepareConfig) -> Path:
    """Prepare the cases of `data` that the store lacks; return the store's folder.

    Raises:
        UserError: the data cannot be prepared, or with `on_error=fail` not all of them.
    """
    data = config.data.to_prepare()
    source = build_source(data)
    folder, settings = resolve_store(data, source)
    check_percentiles(getattr(data, "percentiles", None), data.check)
    check = ValueCheck(source.contract, data.check)
    shard = Shard.parse(config.shard) if config.shard else None
    bar = ProgressBar("prepare")
    preparation = Preparation(
        source, settings, folder, progress=bar, shard=shard, workers=config.workers, check=check
    )
    if config.verify and (folder / CATALOG).is_file():
        for case_id in preparation.verify():
            log.warning(f"damaged, prepared again: {case_id}")
    start = time.monotonic()
    preparation.run()
    if config.shard:
        log.info(f"part {config.shard} is prepared: {folder}; a last run without shard joins them")
    else:
        report(folder, data, time.monotonic() - start, check)
    return folder


def report(folder: Path, data: PreparableData, seconds: float, check: ValueCheck) -> None:
    """Print the number and size of the stored cases, and the skipped ones with reasons.

    Raises:
        DataError: some cases cannot be used, and `on_error=fail`; or none can; or `check` refuses
            their values.
    """
    catalog = Catalog(folder / CATALOG)
    count = stored = decoded = 0
    for record in catalog.records():
        check.add(record.case_id, record.statistics)
        if record.error is None:
            count, stored = count + 1, stored + record.num_bytes
            decoded += record.decoded_bytes
    for summary in catalog.findings:
        log.warning(summary.text(len(catalog)))
    failures = [[source, reason] for _, source, reason in catalog.failures()]
    if failures:
        table(f"{len(failures)} skipped", ["source", "reason"], failures[:MAX_ROWS])
    if not count:
        raise DataError(f"none of the {len(catalog)} cases can be used: {failures[0][1]}")
    warn_of_labels(data, catalog)
    size = f"{gib(stored)} on disk for {gib(decoded)} of voxels"
    log.info(f"{counted(count)}, {size}, {seconds:.1f} s")
    log.info(f"store: {folder}")
    if failures and data.on_error == "fail":
        raise DataError(
            f"{len(failures)} of {len(catalog)} cases cannot be used, the first: "
            f"{': '.join(failures[0])}; data.on_error=skip leaves them out"
        )
    check.report()
    log.info(next_command("train", *(w for w in sys.argv[1:] if w.startswith("data"))))
