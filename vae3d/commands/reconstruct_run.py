"""`vae3d reconstruct`: encode and decode scans, onto their own grids."""

import logging
from dataclasses import dataclass
from pathlib import Path

from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.trained import TrainedRun
from vae3d.data.cases import Case
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.logger.console import ProgressBar
from vae3d.runtime.case_loop import CaseLoop
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision
from vae3d.scans.outputs import Outputs

log = logging.getLogger(__name__)


def reconstruct(config: ReconstructConfig) -> Path:
    """Reconstruct the scans of `input`; return the folder, or the file, of the results.

    Raises:
        UserError: the run or the scans do not exist, a scan cannot be read, or an output file
            exists.
    """
    if config.input is None:
        raise ConfigError("input must name a scan or a folder of scans, for example input=/scans")
    trained = TrainedRun.named(config.run, config.weights)
    with start_distributed(config.device) as distributed:
        return Reconstruction(config, trained, distributed).run()


@dataclass(frozen=True)
class Reconstruction:
    """Reconstruct scans with one model, each on exactly one rank."""

    config: ReconstructConfig
    trained: TrainedRun
    distributed: Distributed

    def run(self) -> Path:
        """Reconstruct the scans one by one; return the output path."""
        config, device = self.config, self.distributed.device
        place = Path(config.output).expanduser()
        cases = self._cases()
        numbers = {name: index for index, name in enumerate(cases.source.case_ids)}
        outputs = Outputs(place, config.existing, config.dtype, cases.spatial_dims)
        due = outputs.due([*numbers], self.distributed)
        precision = Precision(config.precision, device)
        codec = Codec(ModelRunner(self.trained.model, device, precision, config.memory))
        bar = ProgressBar("reconstruct", self.distributed.is_main)
        loop = CaseLoop(self.distributed, bar, "reconstructed", config.on_error)
        mine = loop.run(due, lambda name: self._reconstruct(codec, cases[numbers[name]], outputs))
        count = len(numbers) - len(due) + len(self.distributed.merge(mine))
        log.info(f"{count} reconstructed: {place}")
        return place

    def _cases(self) -> LoadedCases:
        config = self.config
        data = self.trained.scans(
            str(config.input),
            channel=config.channel,
            on_error=config.on_error,
            nonfinite=config.nonfinite,
        )
        return LoadedCases(ScanSource(data), data, self.trained.contract)

    def _reconstruct(self, codec: Codec, case: Case, outputs: Outputs) -> None:
        posterior = codec.encode(case)
        latent = posterior.sample(self.config.seed) if self.config.sample else posterior.mean
        outputs.write(codec.decode(latent, posterior.record), posterior.record.case_id)
