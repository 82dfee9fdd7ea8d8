"""`vae3d reconstruct`: encode and decode scans, onto their own grids."""

import logging
from pathlib import Path

from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.data.cases import Case
from vae3d.data.check import checked_as_read
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.files.paths import user_path
from vae3d.files.unfinished import digest_of, stamp_of
from vae3d.logger.console import ProgressBar
from vae3d.run.trained import TrainedRun
from vae3d.runtime.case_loop import CaseLoop
from vae3d.scans.outputs import Outputs
from vae3d.scans.volume import Volume

log = logging.getLogger(__name__)


def reconstruct(config: ReconstructConfig) -> Path:
    """Reconstruct the scans of `input`; return the folder, or the file, of the results.

    Raises:
        UserError: the run or the scans do not exist, a scan cannot be read, or an output file
            exists.
    """
    config.check_given()
    with TrainedRun.opened(config) as trained:
        data = trained.scans(
            str(config.input),
            channel=trained.contract.channel if config.channel is None else config.channel,
            voxel=config.voxel,
            on_error=config.on_error,
            nonfinite=config.nonfinite,
            check=config.check,
        )
        source = ScanSource(data, key="input")
        cases = LoadedCases(source, data, trained.intensity)
        numbers = {name: index for index, name in enumerate(source.case_ids)}
        place, distributed = user_path(config.output), trained.distributed
        outputs = Outputs(place, config.existing, config.dtype, cases.spatial_dims)
        codec = trained.codec(config)

        def reconstructed(_: str, case: Case) -> Volume:
            posterior = codec.encode(case)
            latent = posterior.sample(config.seed) if config.sample else posterior.mean
            return codec.decode(latent, posterior.record)

        bar = ProgressBar("reconstruct", distributed.is_main)
        loop = CaseLoop(distributed, bar, "reconstructed", config.on_error, "on_error")
        inputs = dict(zip(source.case_ids, map(stamp_of, source.paths), strict=True))
        with outputs.claimed(inputs, distributed, digest_of(config, trained.weights)) as due:
            if len(due) < len(numbers):
                cases.config = cases.config.lenient()
            with (
                checked_as_read(cases, distributed, "check"),
                codec.runner.concurrently(len(due)) as lanes,
            ):
                read, write = (lambda name: cases[numbers[name]]), outputs.write
                mine = loop.run_staged(due, read, reconstructed, write, lanes)
        count = len(numbers) - len(due) + len(distributed.merge(mine))
        log.info(f"{count} reconstructed: {place}")
        return place
