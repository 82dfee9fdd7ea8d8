"""`vae3d encode`: the posterior of every case as a file, with the way back to the scan."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vae3d.commands.encode import EncodeConfig
from vae3d.commands.trained import TrainedRun
from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.errors import ConfigError, DataError, UserError, VolumeError
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.latents.file import Latent, read_latent, write_latent
from vae3d.latents.folder import (
    NIFTI_FOLDER,
    SETTINGS,
    Entry,
    latent_file,
    write_manifest,
    write_statistics,
)
from vae3d.latents.health import LatentHealth
from vae3d.logger.console import ProgressBar
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.files import sweep, write_json
from vae3d.runtime.lock import locked
from vae3d.runtime.plain import read_json
from vae3d.runtime.precision import Precision
from vae3d.scans.files import write_volume
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume
from vae3d.values.naming import file_stem

log = logging.getLogger(__name__)


def encode(config: EncodeConfig, source: CaseSource | None = None) -> Path:
    """Encodes what is not encoded yet; gives the folder.

    Raises:
        UserError: no such run, data that do not fit its weights, a folder of other latents.
    """
    trained = TrainedRun.named(config.run, config.weights)
    with start_distributed(config.device) as distributed:
        return Encoding(config, trained, source, distributed).run()


@dataclass(frozen=True)
class Encoding:
    """One data set through the encoder of one run; each case on exactly one rank."""

    config: EncodeConfig
    trained: TrainedRun
    source: CaseSource | None
    distributed: Distributed

    def run(self) -> Path:
        """Encodes, then writes manifest and statistics of all ranks' cases."""
        cases = self.cases
        if self.config.nifti and cases.spatial_dims != 3:
            raise ConfigError("nifti=true is for 3D scans; these are 2D")
        with contextlib.ExitStack() as stack:
            self._claim(stack)
            self._encode(cases)
        return self.output

    def _encode(self, cases: Cases) -> None:
        names = {i: split for split, members in cases.splits.items() for i in members.tolist()}
        order = sorted(names, key=cases.case_id)
        mine = order[self.distributed.rank :: self.distributed.world]
        progress = ProgressBar("encode", self.distributed.is_main)
        progress.start(0, len(mine))
        done: dict[str, tuple[Entry, LatentHealth]] = {}
        skipped: list[str] = []
        try:
            for index in mine:
                try:
                    latent = self._latent(index, names[index])
                except VolumeError as error:
                    if cases.config.on_error == "fail":
                        raise
                    skipped.append(str(error))
                    continue
                finally:
                    progress.advance()
                done[latent.record.case_id] = self._entry(latent)
        finally:
            progress.close()
        self._finish(done, skipped)

    @property
    def output(self) -> Path:
        """Where the latents go."""
        return Path(self.config.output).expanduser()

    @cached_property
    def codec(self) -> Codec:
        """The model of the run, where it computes."""
        device = self.distributed.device
        precision = Precision(self.config.precision, device)
        return Codec(ModelRunner(self.trained.model, device, precision, self.config.memory))

    @cached_property
    def cases(self) -> Cases:
        """The cases, read one after the other and none kept."""
        data = self.trained.data(self.config.data).read_once()
        bar = ProgressBar("prepare", self.distributed.is_main)
        cases = open_cases(data, bar, self.source, self.trained.adopt)
        self.trained.check_spacing(cases.spacing)
        return cases

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What all latents of one folder share."""
        model = self.trained.model
        return {
            "weights": self.codec.weights,
            "architecture": {
                "factor": list(model.factor),
                "latent_channels": model.config.latent_channels,
                "spatial_dims": model.spatial_dims,
            },
            "contract": self.cases.contract.describe(),
            "spacing": self.cases.spacing,
            "precision": self.codec.runner.precision.name,
            "dtype": self.config.dtype,
        }

    def _claim(self, stack: contextlib.ExitStack) -> None:
        """The folder is this command's alone and of these weights; every rank must ask."""
        refusal: UserError | None = None
        if self.distributed.is_main:
            try:
                stack.enter_context(self._claimed())
            except UserError as error:
                refusal = error
        refused = self.distributed.gather(refusal)[0]
        if refused is not None:
            raise refused

    @contextlib.contextmanager
    def _claimed(self) -> Iterator[None]:
        path, lock = self.output / SETTINGS, self.output / ".lock"
        foreign = not self.output.is_dir() or any(e != lock for e in self.output.iterdir())
        if self.output.exists() and foreign and not path.exists():
            raise DataError(
                f"{self.output}: holds files that are no latents; name another output="
            )
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            with locked(lock):
                self._check_settings(path)
                yield
        except PermissionError as error:
            raise DataError(f"{self.output}: cannot be written ({error.strerror})") from error

    def _check_settings(self, path: Path) -> None:
        try:
            found = read_json(path)
        except FileNotFoundError:
            write_json(path, self.settings)
            return
        except ConfigError as error:
            raise DataError(f"{path}: {error}") from error
        if found != self.settings:
            known = found if isinstance(found, dict) else {}
            changed = [key for key, value in self.settings.items() if known.get(key) != value]
            raise ConfigError(
                f"{self.output}: holds latents of other {' and '.join(changed)}; "
                "name another output="
            )
        folders = (self.output / "cases").glob("??")
        for place in (self.output, self.output / NIFTI_FOLDER, *folders):
            sweep(place)

    def _latent(self, index: int, split: str) -> Latent:
        """The latent of a case: the one that is there, if it is whole and of the same scan."""
        path = self.output / latent_file(self.cases.case_id(index))
        picture = self._nifti(self.cases.case_id(index))
        scan = self._scan(index)
        if path.exists() and scan:
            try:
                found = read_latent(path)
            except DataError as error:
                log.warning(f"encoded anew: {error}")
            else:
                if (found.record.scan, found.record.split) == (scan, split):
                    if not picture.exists():
                        self._show(found, picture)
                    return found
        latent = self.codec.encode(self.cases[index], split, scan)
        write_latent(path, latent, self.config.dtype)
        # What statistics are made of is what a reader will find.
        found = read_latent(path)
        self._show(found, picture)
        return found

    def _nifti(self, case_id: str) -> Path:
        return self.output / NIFTI_FOLDER / f"{file_stem(case_id)}.nii.gz"

    def _show(self, latent: Latent, path: Path) -> None:
        """Writes the mean for a viewer, over the scan, if that was asked for."""
        if self.config.nifti:
            record = latent.record
            write_volume(Volume(latent.mean, record.latent_affine, record.case_id), path)

    def _scan(self, index: int) -> str:
        """What changes when the scan does; empty where that cannot be known beforehand."""
        source = getattr(self.cases, "source", None)
        if isinstance(source, CaseSource):
            with contextlib.suppress(NotImplementedError):
                return source.stamp(index).mark
            return ""
        return self.cases.fingerprint(np.array([index], np.int64))

    def _entry(self, latent: Latent) -> tuple[Entry, LatentHealth]:
        record = latent.record
        health = LatentHealth()
        health.add(DiagonalGaussian(latent.mean[None], latent.logvar[None]))
        file = latent_file(record.case_id)
        return Entry(record.case_id, record.split, file, tuple(record.shape), record.size), health

    def _finish(self, done: dict[str, tuple[Entry, LatentHealth]], skipped: list[str]) -> None:
        parts = self.distributed.gather((done, skipped))
        if not self.distributed.is_main:
            return
        everything = {name: value for part, _ in parts for name, value in part.items()}
        for line in (line for _, lines in parts for line in lines):
            log.info(f"skipped {line}")
        if not everything:
            raise DataError("none of the cases can be encoded")
        entries = [everything[name] for name in sorted(everything)]
        # Merged in the order of names: neither ranks nor an interruption change a bit of it.
        whole = LatentHealth.merged(health for _, health in entries)
        write_statistics(self.output, whole.summary(), len(entries))
        write_manifest(self.output, [entry for entry, _ in entries])
        log.info(f"{len(entries)} latents: {self.output}")
