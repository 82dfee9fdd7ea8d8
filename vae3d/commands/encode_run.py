"""`vae3d encode`: the posterior of every case as a file, with what decodes it onto its scan."""

import logging
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from vae3d.commands.encode import EncodeConfig
from vae3d.data.cases import Case, Cases
from vae3d.data.check import checked_as_read
from vae3d.data.run_cases import RunCases
from vae3d.errors import ConfigError, DataError
from vae3d.files.checksums import sealing
from vae3d.files.paths import user_path
from vae3d.latents.claim import claimed_folder
from vae3d.latents.codec import Codec
from vae3d.latents.encoded import read_encoded, write_encoded
from vae3d.latents.file import Latent
from vae3d.latents.folder import (
    MANIFEST,
    NIFTI_FOLDER,
    SETTINGS,
    STATISTICS,
    Entry,
    latent_file,
    write_manifest,
    write_statistics,
)
from vae3d.latents.health import LatentHealth
from vae3d.logger.console import ProgressBar
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.run.trained import TrainedRun
from vae3d.runtime.case_loop import CaseLoop
from vae3d.runtime.messages import counted
from vae3d.runtime.shell import next_command
from vae3d.scans.source import CaseSource
from vae3d.values.identity import ScanIdentity
from vae3d.values.naming import check_file_stems

log = logging.getLogger(__name__)

ReadCase = Latent | tuple[Case, Tensor, str]


def encode(config: EncodeConfig, source: CaseSource | None = None) -> Path:
    """Encode the cases that are not encoded yet; return the folder.

    Raises:
        UserError: the run does not exist, the data do not fit its weights, or the folder holds
            latents of other settings.
    """
    with TrainedRun.opened(config) as trained:
        return Encoding(config, trained, source).run()


@dataclass(frozen=True)
class Encoding:
    """One encoding: a data set through the encoder of a run, each case on exactly one rank."""

    config: EncodeConfig
    trained: TrainedRun
    source: CaseSource | None

    def run(self) -> Path:
        """Encode, then write manifest and statistics of all ranks' cases; return the folder."""
        cases, distributed = self.cases, self.trained.distributed
        if self.config.nifti and cases.spatial_dims != 3:
            raise ConfigError("nifti=true is for 3D scans; these are 2D")
        with distributed.entered_by_main(claimed_folder(self.output, self.settings)):
            order = sorted(self.drawn, key=cases.case_id)
            if self.config.nifti:
                check_file_stems(self.output / NIFTI_FOLDER, map(cases.case_id, order))
            bar = ProgressBar("encode", distributed.is_main)
            loop = CaseLoop(distributed, bar, "encoded", cases.config.on_error, "data.on_error")
            runner = self.codec.runner
            with checked_as_read(cases, distributed), runner.concurrently(len(order)) as lanes:
                mine = loop.run_staged(order, self._read, self._encode, self._write, lanes)
            self._finish(distributed.merge(mine))
        words = f"run={self.trained.folder.path}", f"input={self.output}"
        log.info(f"{next_command('decode', *words)}, or vae3d.LatentDataset in Python")
        return self.output

    @property
    def output(self) -> Path:
        """The folder of the latents."""
        return user_path(self.config.output)

    @cached_property
    def codec(self) -> Codec:
        """The model of the run, on its device."""
        return self.trained.codec(self.config)

    @cached_property
    def cases(self) -> Cases:
        """The cases; each is read once and none is cached."""
        bar = ProgressBar("prepare", self.trained.distributed.is_main)
        cases = self.trained.cases(self.config.data, bar, self.source, once=True)
        if any((self.output / "cases").glob("*/*")):
            cases.config = cases.config.lenient()
        return cases

    @cached_property
    def drawn(self) -> dict[int, str]:
        """The split of each case as a list or a rule has it."""
        return self.cases.split_of()

    @cached_property
    def record(self) -> RunCases:
        """The cases of the training, with their splits."""
        return RunCases.read(self.trained.folder.cases)

    def _split(self, index: int, identity: ScanIdentity | None) -> str:
        """Return the split of a case: a list's, that which it had in the training, or the rule's.

        Latents of test cases must not train a diffusion model because other cases came or went.
        """
        case_id = self.cases.case_id(index)
        found = None if self.cases.is_listed else self.record.find(case_id, identity)
        return self.drawn[index] if found is None else found.split

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that all latents of a folder share, as plain values."""
        model = self.trained.model
        return {
            "weights": self.codec.weights,
            "encoder": self.codec.fingerprints.encoder,
            "architecture": {
                "factor": list(model.factor),
                "latent_channels": model.config.latent_channels,
                "spatial_dims": model.spatial_dims,
            },
            "contract": self.cases.contract.describe(),
            "spacing": self.cases.spacing,
            "channel": self.cases.channel,
            "precision": self.codec.runner.precision.name,
            "dtype": self.config.dtype,
        }

    def _read(self, index: int) -> ReadCase:
        """Return the stored latent of a case, or the case, its voxels and the mark of its scan."""
        case_id, scan = self.cases.case_id(index), self.cases.stamp(index)
        split_of = partial(self._split, index)
        if (stored := read_encoded(self.output, case_id, scan, split_of)) is not None:
            return stored
        case = self.cases[index]
        return case, case.volume().data, scan

    def _encode(self, index: int, read: ReadCase) -> tuple[Latent, bool]:
        """Return the latent of a case, and whether it is stored already."""
        if isinstance(read, Latent):
            return read, True
        case, values, scan = read
        return self.codec.encode(case, self._split(index, case.identity), scan, values), False

    def _write(self, _: int, encoded: tuple[Latent, bool]) -> tuple[Entry, LatentHealth]:
        config = self.config
        latent = write_encoded(
            self.output, encoded[0], config.dtype, config.nifti, is_stored=encoded[1]
        )
        record = latent.record
        health = LatentHealth.of_levels(record.levels or ())
        health.add(DiagonalGaussian(latent.mean[None], latent.logvar[None]))
        grid = latent_file(record.case_id), tuple(record.shape), record.size
        known = record.voxels or "", record.weights
        return Entry(record.case_id, record.split, *grid, *known), health

    def _finish(self, latents: dict[int, tuple[Entry, LatentHealth]]) -> None:
        """Write manifest and statistics of the latents of all ranks."""
        if not self.trained.distributed.is_main:
            return
        if not latents:
            raise DataError("there is no case to encode")
        entries = sorted(latents.values(), key=lambda entry: entry[0].case_id)
        # Merged in the order of names: the statistics are bit-identical for any number of ranks
        # and after an interruption.
        merged = LatentHealth.merged(health for _, health in entries)
        own, weights = self.trained.model.statistics, self.codec.weights
        encoder = self.codec.fingerprints.encoder
        with sealing(self.output, SETTINGS, STATISTICS, MANIFEST):
            used = write_statistics(
                self.output, merged.summary(), len(entries), weights, own, encoder
            )
            write_manifest(self.output, [entry for entry, _ in entries])
        log.info(f"{counted(len(entries), 'latent')}: {self.output}")
        log.info(used)
