"""`vae3d reconstruct`: scans through the encoder and the decoder, back onto their own grids."""

import logging
from dataclasses import dataclass
from pathlib import Path

from vae3d.commands.outputs import Outputs
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.trained import TrainedRun
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.logger.console import ProgressBar
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision

log = logging.getLogger(__name__)


def reconstruct(config: ReconstructConfig) -> Path:
    """Reconstructs what `input` names; gives the folder, or the file, of the results.

    Raises:
        UserError: no such run or scans, a scan that cannot be read, or files in the way.
    """
    if config.input is None:
        raise ConfigError("input must name a scan or a folder of scans, for example input=/scans")
    trained = TrainedRun.named(config.run, config.weights)
    with start_distributed(config.device) as distributed:
        return Reconstruction(config, trained, distributed).run()


@dataclass(frozen=True)
class Reconstruction:
    """Scans through one model; each on exactly one rank."""

    config: ReconstructConfig
    trained: TrainedRun
    distributed: Distributed

    def run(self) -> Path:
        """Reconstructs one after the other."""
        config, device = self.config, self.distributed.device
        place = Path(config.output).expanduser()
        cases = self._cases()
        numbers = {name: index for index, name in enumerate(cases.source.case_ids)}
        outputs = Outputs(place, config.existing, config.dtype, cases.spatial_dims)
        due = outputs.due([*numbers], self.distributed)
        precision = Precision(config.precision, device)
        codec = Codec(ModelRunner(self.trained.model, device, precision, config.memory))
        progress = ProgressBar("reconstruct", self.distributed.is_main)
        progress.start(0, len(due))
        skipped: list[str] = []
        try:
            for name in due:
                try:
                    self._through(codec, cases, numbers[name], outputs)
                except VolumeError as error:
                    if config.on_error == "fail":
                        raise
                    skipped.append(str(error))
                progress.advance()
        finally:
            progress.close()
        self._report([*numbers], skipped, place)
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

    def _through(self, codec: Codec, cases: LoadedCases, index: int, outputs: Outputs) -> None:
        found = codec.encode(cases[index])
        latent = found.sample(self.config.seed) if self.config.sample else found.mean
        outputs.write(codec.decode(latent, found.record), found.record.case_id)

    def _report(self, names: list[str], skipped: list[str], place: Path) -> None:
        lines = [line for part in self.distributed.gather(skipped) for line in part]
        if not self.distributed.is_main:
            return
        for line in lines:
            log.info(f"skipped {line}")
        if len(lines) == len(names):
            raise DataError("none of the scans can be reconstructed")
        log.info(f"{len(names) - len(lines)} reconstructed: {place}")
