"""`vae3d decode`: latents, encoded or made by a diffusion model, to scans in place and units."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.autoencoder.weights import CONFIG_FILE, read_weights
from vae3d.commands.decode import DecodeConfig
from vae3d.commands.outputs import Outputs
from vae3d.commands.trained import TrainedRun
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, DataError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.latents.file import SUFFIX, LatentRecord, is_latent, read_latent, read_record
from vae3d.latents.folder import MANIFEST, read_manifest, read_statistics
from vae3d.latents.samples import SUFFIXES, Sample, samples_of, suffix_of
from vae3d.logger.console import ProgressBar
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision
from vae3d.scans.resample import resized_affine
from vae3d.values.intensity import IntensityRange
from vae3d.values.latent_statistics import LatentStatistics

log = logging.getLogger(__name__)

Read = Callable[[], tuple[Tensor, LatentRecord]]
"""Gives a latent (C, *size) as the model made it, and what leads from it to a scan."""


def decode(config: DecodeConfig) -> Path:
    """Decodes what `input` names; gives the folder, or the file, of the results.

    Raises:
        UserError: no such run or latents, latents of other weights, or files in the way.
    """
    if config.input is None:
        raise ConfigError("input must name latents, for example input=latents")
    trained = TrainedRun.named(config.run, config.weights)
    with start_distributed(config.device) as distributed:
        return Decoding(config, trained, distributed).run()


@dataclass(frozen=True)
class Decoding:
    """Latents through the decoder of one run; each on exactly one rank."""

    config: DecodeConfig
    trained: TrainedRun
    distributed: Distributed

    def run(self) -> Path:
        """Decodes one after the other."""
        config, model = self.config, self.trained.model
        place = Path(config.output).expanduser()
        outputs = Outputs(place, config.existing, config.dtype, model.spatial_dims)
        found = self._latents(Path(str(config.input)).expanduser())
        due = outputs.due([*found], self.distributed)
        progress = ProgressBar("decode", self.distributed.is_main)
        progress.start(0, len(due))
        try:
            for name in due:
                latent, record = found[name]()
                outputs.write(self.codec.decode(latent, record), name)
                progress.advance()
        finally:
            progress.close()
        self.distributed.barrier()
        if self.distributed.is_main:
            log.info(f"{len(found)} decoded: {place}")
        return place

    @cached_property
    def codec(self) -> Codec:
        """The model of the run, where it computes."""
        device = self.distributed.device
        precision = Precision(self.config.precision, device)
        return Codec(ModelRunner(self.trained.model, device, precision, self.config.memory))

    def _latents(self, path: Path) -> dict[str, Read]:
        """How each latent is read, by its name."""
        if (path / MANIFEST).exists():
            entries = read_manifest(path)
            return {e.case_id: partial(self._encoded, path / e.file) for e in entries}
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and suffix_of(file))
        else:
            files = [path] if path.is_file() and suffix_of(path) else []
        found = [item for file in files for item in self._of_file(file)]
        if not found:
            raise DataError(f"{path}: no latents here ({MANIFEST}, {', '.join(SUFFIXES)})")
        names = [name for name, _ in found]
        if twice := {name for name in names if names.count(name) > 1}:
            raise DataError(f"{path}: two latents are called {min(twice)!r}; rename one")
        return dict(found)

    def _of_file(self, path: Path) -> list[tuple[str, Read]]:
        if suffix_of(path) == SUFFIX and is_latent(path):
            return [(read_record(path).case_id, partial(self._encoded, path))]
        samples = samples_of(path, self.trained.model.spatial_dims)
        return [(sample.name, partial(self._sampled, sample)) for sample in samples]

    def _encoded(self, path: Path) -> tuple[Tensor, LatentRecord]:
        """A latent that `vae3d encode` wrote: its mean, or a sample of (seed, case)."""
        if self.config.scaling != "none":
            raise ConfigError(
                f"scaling={self.config.scaling} is for latents that were normalised; "
                f"{path} holds one as the model made it"
            )
        found = read_latent(path)
        if found.record.weights != self.codec.weights and not self.config.any_weights:
            raise ConfigError(
                f"{path}: is a latent of other weights than {self.trained.weights}; "
                "any_weights=true decodes it all the same"
            )
        self._check(found.mean, found.record, path)
        latent = found.sample(self.config.seed) if self.config.sample else found.mean
        return latent, found.record

    def _sampled(self, sample: Sample) -> tuple[Tensor, LatentRecord]:
        """A plain latent, made what it was before it was normalised."""
        latent, affine = sample.read()
        record = self._placed(sample, latent, affine)
        self._check(latent, record, sample.path)
        if self.statistics is not None:
            latent = self.statistics.restored(latent, self.config.scaling, axis=0)
        return latent, record

    def _check(self, latent: Tensor, record: LatentRecord, path: Path) -> None:
        """Raises a ConfigError where model, latent and record do not fit together."""
        model = self.trained.model
        wanted = model.config.latent_channels, *model.latent_size(record.shape)
        if tuple(latent.shape) != wanted or tuple(record.factor) != model.factor:
            image = " x ".join(map(str, record.shape))
            raise ConfigError(
                f"{path}: has shape {tuple(latent.shape)}, but a latent of these weights for an "
                f"image of {image} has {wanted}"
            )

    @cached_property
    def statistics(self) -> LatentStatistics | None:
        """What plain latents were normalised with, if they were."""
        if self.config.scaling == "none":
            return None
        if self.config.statistics is None:
            raise ConfigError(
                f"scaling={self.config.scaling} needs the statistics that the latents were "
                "normalised with: statistics=LATENTS, a folder that vae3d encode wrote"
            )
        folder = Path(self.config.statistics).expanduser()
        if not (folder / CONFIG_FILE).exists():
            return read_statistics(folder)
        # Weights tell the statistics of their validation, which may be all that is at hand.
        if (found := read_weights(folder).statistics) is None:
            raise ConfigError(f"statistics={folder}: these weights tell none of their latents")
        return found

    def _placed(
        self, sample: Sample, latent: Tensor, affine: NDArray[np.float64] | None
    ) -> LatentRecord:
        """Where a plain latent's volume lies, and its range: as `like`, or as far as is known."""
        if self.like is not None:
            record = replace(self.like, case_id=sample.name)
        else:
            record = self._from_nothing(sample.name, tuple(latent.shape[1:]), affine)
        if self.config.range is None:
            return record
        low, high = self.config.range
        return replace(record, low=float(low), high=float(high))

    @cached_property
    def like(self) -> LatentRecord | None:
        """Place, shape and range of the scan, or of the latent, that results are to lie over."""
        if self.config.like is None:
            return None
        path = Path(self.config.like).expanduser()
        if suffix_of(path) == SUFFIX:
            return read_record(path)
        config = self.trained.scans(str(path))
        cases = LoadedCases(ScanSource(config), config)
        if len(cases.source.case_ids) != 1:
            raise ConfigError(f"like={path} must be one scan, or a latent of vae3d encode")
        return self.codec.record(cases[0])

    def _from_nothing(
        self, name: str, size: tuple[int, ...], affine: NDArray[np.float64] | None
    ) -> LatentRecord:
        model = self.trained.model
        if len(size) != model.spatial_dims:
            raise ConfigError(f"{name}: the weights are for {model.spatial_dims}D data")
        shape = tuple(n * f for n, f in zip(size, model.factor, strict=True))
        grid = self._grid() if affine is None else resized_affine(affine, size, shape)
        seen = self._range()
        return LatentRecord(
            case_id=name,
            split="",
            shape=[*shape],
            affine=grid.tolist(),
            factor=[*model.factor],
            low=seen.low,
            high=seen.high,
            unit=seen.unit,
            weights=self.codec.weights,
            scan="",
            precision=self.codec.runner.precision.name,
        )

    def _grid(self) -> NDArray[np.float64]:
        """Voxels (d, h, w) of the spacing asked for, or of the weights', from the origin on."""
        axes = self.trained.model.spatial_dims
        spacing = self.config.spacing or self.trained.spacing or (1.0,) * axes
        if len(spacing) != axes:
            raise ConfigError(f"spacing must be {axes} numbers, got {[*spacing]}")
        # In 3D RAS runs backwards through the axes; images keep their own order.
        order = range(axes)[::-1] if axes == 3 else range(axes)
        grid = np.eye(axes + 1)
        grid[:axes, :axes] = np.diag(spacing)[list(order)]
        return grid

    def _range(self) -> IntensityRange:
        """What [-1, 1] stands for."""
        if self.config.range is not None:
            low, high = self.config.range
            known = self.trained.model.contract.intensity
            unit = known.unit if known else ""
            return IntensityRange(float(low), float(high), unit)
        contract = self.trained.contract
        if contract.kind != "window":
            raise ConfigError(
                "these weights saw each scan in a range of its own: say range=[low,high], or "
                "like=SCAN for the range of a scan"
            )
        return IntensityRange(contract.low, contract.high, contract.unit)
