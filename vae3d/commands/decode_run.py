"""`vae3d decode`: latents, encoded ones or samples of a diffusion model, to scans."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vae3d.autoencoder.places import holds_weights
from vae3d.autoencoder.weights import read_statistics_of
from vae3d.commands.decode import DecodeConfig
from vae3d.data.config import DATA as DATA_KINDS
from vae3d.data.loaded import LoadedCases
from vae3d.data.scan_source import ScanSource
from vae3d.errors import ConfigError, DataError
from vae3d.files.paths import user_path
from vae3d.files.unfinished import digest_of, stamp_of
from vae3d.latents.codec import Codec
from vae3d.latents.file import SUFFIX, Latent, LatentRecord, is_latent, read_latent, read_record
from vae3d.latents.folder import MANIFEST, read_entry, read_manifest, read_statistics
from vae3d.latents.plain import plain_record
from vae3d.latents.samples import SUFFIXES, Sample, samples_of, suffix_of
from vae3d.latents.scale import ScaleCheck
from vae3d.logger.console import ProgressBar
from vae3d.run.trained import TrainedRun
from vae3d.runtime.case_loop import CaseLoop
from vae3d.runtime.shell import next_command
from vae3d.scans.outputs import Outputs
from vae3d.values.agreement import DATA
from vae3d.values.latent_statistics import LatentStatistics

log = logging.getLogger(__name__)

LatentReader = Callable[[], tuple[Tensor, LatentRecord]]
"""Reads a latent (C, *size) as the model encodes it, and its record: the scan's grid and range."""


def decode(config: DecodeConfig) -> Path:
    """Decode the latents of `input`; return the folder, or the file, of the scans.

    Raises:
        UserError: the run or the latents do not exist, the latents are of other weights, or an
            output file exists.
    """
    config.check_given()
    if config.any_weights:
        log.warning("any_weights=true is called allow=[weights] now")
    with TrainedRun.opened(config) as trained:
        return Decoding(config, trained).run()


@dataclass(frozen=True)
class Decoding:
    """One decoding: latents through the decoder of a run, each on exactly one rank."""

    config: DecodeConfig
    trained: TrainedRun

    def run(self) -> Path:
        """Decode the latents one by one; return the output path."""
        config, distributed = self.config, self.trained.distributed
        self._check_settings()
        place = user_path(config.output)
        outputs = Outputs(place, config.existing, config.dtype, self.trained.model.spatial_dims)
        path = user_path(str(config.input))
        readers = self._readers(path)
        bar = ProgressBar("decode", distributed.is_main)
        command = digest_of(config, self.trained.weights, config.like, config.statistics)
        inputs = {name: stamp_of(file) for name, (file, _) in readers.items()}
        loop, codec = CaseLoop(distributed, bar, "decoded"), self.codec
        with (
            outputs.claimed(inputs, distributed, command) as due,
            codec.runner.concurrently(len(due)) as lanes,
        ):
            read, write = (lambda name: readers[name][1]()), outputs.write
            loop.run_staged(due, read, lambda _, latent: codec.decode(*latent), write, lanes)
        log.info(f"{len(readers)} decoded: {place}")
        scans = self.trained.scans(str(place))
        kind = next(name for name in DATA_KINDS if DATA_KINDS[name] is type(scans))
        log.info(next_command("inspect", f"data={kind}", f"data.root={place}"))
        return place

    @cached_property
    def codec(self) -> Codec:
        """The model of the run, on its device."""
        return self.trained.codec(self.config)

    def _check_settings(self) -> None:
        """Raise a ConfigError for settings that differ from the weights', or have no effect."""
        config, asked = self.config, {}
        if config.range is not None:
            asked["window"] = config.range
        if config.spacing is not None and self.trained.contract.spacing is not None:
            asked["spacing"] = config.spacing
        self.trained.agreement.on(asked, {"window": "range", "spacing": "spacing"})
        for key, needed in (
            ("statistics", config.scaling != "none"),
            ("spacing", not config.like),
        ):
            if getattr(config, key) is not None and not needed:
                way = "scaling=factor or scaling=channels" if key == "statistics" else "no like="
                raise ConfigError(f"{key}={getattr(config, key)} has an effect only with {way}")

    def _readers(self, path: Path) -> dict[str, tuple[Path, LatentReader]]:
        """Return the file of each latent and its reader, by the latent's name."""
        if (path / MANIFEST).exists():
            found = ((e, path / e.file) for e in read_manifest(path))
            read = self._read_encoded
            return {
                e.case_id: (f, partial(read, f, partial(read_entry, path, e))) for e, f in found
            }
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        latents = [file for file in files if file.is_file() and suffix_of(file)]
        readers = [(n, (f, read)) for f in latents for n, read in self._readers_of_file(f)]
        if not readers:
            raise DataError(f"{path}: no latents here ({MANIFEST}, {', '.join(SUFFIXES)})")
        names = [name for name, _ in readers]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise DataError(f"{path}: two latents are called {min(duplicates)!r}; rename one")
        return dict(readers)

    def _readers_of_file(self, path: Path) -> list[tuple[str, LatentReader]]:
        if suffix_of(path) == SUFFIX and is_latent(path):
            read = partial(read_latent, path)
            return [(read_record(path).case_id, partial(self._read_encoded, path, read))]
        samples = samples_of(path, self.trained.model.spatial_dims)
        return [(sample.name, partial(self._read_sample, sample)) for sample in samples]

    def _read_encoded(self, path: Path, read: Callable[[], Latent]) -> tuple[Tensor, LatentRecord]:
        """Read a latent of `vae3d encode`: its mean, or a sample drawn from (seed, case)."""
        if self.config.scaling != "none":
            raise ConfigError(
                f"scaling={self.config.scaling} is for latents that were normalised; "
                f"{path} holds one as the model encoded it"
            )
        given = self.config.given()
        for key in ("range", "like", "spacing"):
            if given.get(key) is not None:
                raise ConfigError(
                    f"{key}={given[key]} is for plain latents: drop {key}; {path} has its own"
                )
        posterior = read()
        if "weights" not in self.trained.allow and not self.codec.reads(posterior.record):
            raise ConfigError(
                f"{path}: is a latent of other weights than {self.trained.weights}; "
                "allow=[weights] decodes it anyway"
            )
        self.codec.check_fits(posterior.mean, posterior.record, path)
        latent = posterior.sample(self.config.seed) if self.config.sample else posterior.mean
        return latent, posterior.record

    def _read_sample(self, sample: Sample) -> tuple[Tensor, LatentRecord]:
        """Read a plain latent and undo its normalisation."""
        if self.config.sample:
            raise ConfigError(f"{sample.path}: holds no posterior to draw from: drop sample=true")
        latent, affine = sample.read()
        if self.codec.are_indices(latent):
            if self.config.scaling != "none":
                raise ConfigError(
                    f"scaling={self.config.scaling} is for latents that were normalised; "
                    f"{sample.path} holds indices of a codebook"
                )
            latent = self.codec.of_indices(latent, sample.path)
            record = self._record(sample, latent, affine)
            self.codec.check_fits(latent, record, sample.path)
            return latent, record
        record = self._record(sample, latent, affine)
        self.codec.check_fits(latent, record, sample.path)
        restored = latent
        if self.statistics is not None:
            restored = self.statistics.restored(latent, self.config.scaling, axis=0)
        self._check_scale(latent, restored)
        return restored, record

    @cached_property
    def _check_scale(self) -> ScaleCheck:
        known, weights = self.trained.model.statistics, str(self.trained.weights)
        return ScaleCheck(known, self.config.scaling, weights)

    @cached_property
    def statistics(self) -> LatentStatistics | None:
        """The statistics that plain latents were normalised with; None for scaling=none."""
        if self.config.scaling == "none":
            return None
        if self.config.statistics is None:
            if (own := self.trained.model.statistics) is None:
                raise ConfigError(
                    f"scaling={self.config.scaling} needs the statistics that the latents were "
                    "normalised with, and these weights hold none: statistics=LATENTS, a folder "
                    "that vae3d encode wrote"
                )
            log.info(f"latents are restored with {own.text}; others with statistics=FOLDER")
            return own
        folder = user_path(self.config.statistics)
        free = "weights" in self.trained.allow
        if not holds_weights(folder):
            prints = () if free else (self.codec.weights, self.codec.fingerprints.encoder)
            return read_statistics(folder, *prints)
        # Weights hold the statistics of their validation, often the only ones available.
        return read_statistics_of(folder, None if free else self.trained.weights)

    def _record(
        self, sample: Sample, latent: Tensor, affine: NDArray[np.float64] | None
    ) -> LatentRecord:
        """Return grid and range of a plain latent's volume: those of `like`, or default ones."""
        if self.like is None:
            size, config = tuple(latent.shape[1:]), self.config
            return plain_record(
                self.codec, sample.name, size, affine, config.spacing, config.range
            )
        if self.config.range is None:
            range_ = self.like.low, self.like.high
            self.trained.agreement.on({"window": range_}, {"window": "window"}, of=DATA)
        low, high = self.config.range or (self.like.low, self.like.high)
        return replace(self.like, case_id=sample.name, low=float(low), high=float(high))

    @cached_property
    def like(self) -> LatentRecord | None:
        """Grid, shape and range of the scan or the latent of `like=`; None without it."""
        if self.config.like is None:
            return None
        path = user_path(self.config.like)
        if suffix_of(path) == SUFFIX:
            return read_record(path)
        config = self.trained.scans(str(path))
        cases = LoadedCases(ScanSource(config, key="like"), config)
        if len(cases.source.case_ids) != 1:
            raise ConfigError(f"like={path} must be one scan, or a latent of vae3d encode")
        return self.codec.record(cases[0])
