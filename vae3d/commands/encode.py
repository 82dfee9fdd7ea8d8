"""`vae3d encode`: the posterior of every case as a file, with the way back to the scan."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae3d.commands.eval import chosen_data, contract_of, spacing_of
from vae3d.config import EncodeConfig, load_config
from vae3d.data.build import StoreConfig, build_source, open_cases
from vae3d.data.cases import Case, Cases
from vae3d.data.source import CaseSource, PreparableData, SourceData
from vae3d.data.volume import Volume
from vae3d.errors import ConfigError, DataError, UserError, VolumeError
from vae3d.latents.file import Latent, LatentRecord, read_latent, write_latent
from vae3d.latents.folder import (
    SETTINGS,
    Entry,
    latent_file,
    write_manifest,
    write_statistics,
)
from vae3d.latents.health import LatentHealth
from vae3d.logger.console import ProgressBar, announce
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import CustomVAE
from vae3d.model.weights import fingerprint
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.files import sweep, write_json
from vae3d.runtime.lock import locked
from vae3d.runtime.memory import planned_memory
from vae3d.runtime.plain import read_json
from vae3d.runtime.precision import Precision
from vae3d.runtime.run_folder import RunFolder


def encode(config: EncodeConfig, source: CaseSource | None = None) -> Path:
    """Encodes what is not encoded yet; gives the folder.

    Raises:
        UserError: no such run, data that do not fit its weights, a folder of other latents.
    """
    if config.run is None:
        raise ConfigError("run must name a run folder, for example run=runs/vae3d")
    folder = RunFolder(Path(config.run).expanduser())
    with start_distributed(config.device) as distributed:
        return Encoding(config, folder, source, distributed).run()


@dataclass(frozen=True)
class Encoding:
    """One data set through the encoder of one run; each case on exactly one rank."""

    config: EncodeConfig
    folder: RunFolder
    source: CaseSource | None
    distributed: Distributed

    def run(self) -> Path:
        """Encodes, then writes manifest and statistics of all ranks' cases."""
        cases = self.cases
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
    def model(self) -> CustomVAE:
        """The model of the run, where it computes."""
        which = self.config.weights
        if which == "auto":
            which = "best" if self.folder.weights("best").exists() else "latest"
        model = CustomVAE.from_pretrained(self.folder.weights(which))
        return model.placed(self.distributed.device)

    @cached_property
    def cases(self) -> Cases:
        """The cases, read one after the other and none kept."""
        trained = load_config(self.folder.config).data
        spacing = spacing_of(self.model, self.folder)
        data = chosen_data(self.config.data, trained, spacing)
        if isinstance(data, PreparableData):
            # Each case is read once: a copy of all of them would serve nobody.
            data = replace(data, store=None)
        if isinstance(data, SourceData):
            data = replace(data, cache_gib=0)
        source = self.source
        if source is None and not isinstance(data, StoreConfig):
            source = build_source(data)
        cases = open_cases(data, ProgressBar("prepare", self.distributed.is_main), source)
        if cases.spatial_dims != self.model.spatial_dims:
            raise ConfigError(
                f"the weights of {self.folder.path} are for {self.model.spatial_dims}D data, "
                f"these are {cases.spatial_dims}D"
            )
        if cases.spacing != spacing:
            raise ConfigError(
                f"the weights of {self.folder.path} expect a spacing of {spacing} mm, "
                f"these data have {cases.spacing}"
            )
        cases.contract = contract_of(self.model, cases.contract, self.folder)
        return cases

    @cached_property
    def precision(self) -> Precision:
        """In what the encoder computes."""
        return Precision(self.config.precision, self.distributed.device)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What all latents of one folder share."""
        return {
            "weights": fingerprint(self.model.config, self.model.state_dict()),
            "architecture": {
                "factor": list(self.model.factor),
                "latent_channels": self.model.config.latent_channels,
                "spatial_dims": self.model.spatial_dims,
            },
            "contract": self.cases.contract.describe(),
            "spacing": self.cases.spacing,
            "precision": self.precision.name,
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
        for place in (self.output, *(self.output / "cases").glob("??")):
            sweep(place)

    def _latent(self, index: int, split: str) -> Latent:
        """The latent of a case: the one that is there, if it is whole and of the same scan."""
        path = self.output / latent_file(self.cases.case_id(index))
        scan = self._scan(index)
        if path.exists() and scan:
            try:
                found = read_latent(path)
            except DataError as error:
                announce(f"encoded anew: {error}")
            else:
                if (found.record.scan, found.record.split) == (scan, split):
                    return found
        case = self.cases[index]
        latent = self._encoded(case, split, scan)
        write_latent(path, latent, self.config.dtype)
        # What statistics are made of is what a reader will find.
        return read_latent(path)

    def _scan(self, index: int) -> str:
        """What changes when the scan does; empty where that cannot be known beforehand."""
        source = getattr(self.cases, "source", None)
        if isinstance(source, CaseSource):
            with contextlib.suppress(NotImplementedError):
                return source.stamp(index).mark
            return ""
        return self.cases.fingerprint(np.array([index], np.int64))

    @torch.no_grad()
    def _encoded(self, case: Case, split: str, scan: str) -> Latent:
        volume = case.volume()
        image = case.range.to_model(volume.data)[None]
        device = self.distributed.device
        memory = planned_memory(self.config.memory, device)
        plan = self.model.plan(tuple(image.shape[2:]), memory)
        with self.precision.autocast(device):
            # Slabs go to the device on their own.
            image = image.to(device) if plan.way == "whole" else image
            posterior = self.model.encode(image, memory)
        record = recorded(case, volume, self.model, split)
        record = replace(
            record, weights=self.settings["weights"], scan=scan, precision=self.precision.name
        )
        return Latent(record, posterior.mean[0].cpu(), posterior.logvar[0].cpu())

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
            announce(f"skipped {line}")
        if not everything:
            raise DataError("none of the cases can be encoded")
        entries = [everything[name] for name in sorted(everything)]
        # Merged in the order of names: neither ranks nor an interruption change a bit of it.
        whole = LatentHealth.merged(health for _, health in entries)
        write_statistics(self.output, whole.summary(), len(entries))
        write_manifest(self.output, [entry for entry, _ in entries])
        announce(f"{len(entries)} latents: {self.output}")


def recorded(case: Case, volume: Volume, model: CustomVAE, split: str) -> LatentRecord:
    """What leads from the latent of a case back to its scan."""
    geometry = case.geometry
    return LatentRecord(
        case_id=case.case_id,
        split=split,
        shape=[*volume.shape],
        affine=volume.affine.tolist(),
        factor=list(model.factor),
        low=case.range.low,
        high=case.range.high,
        unit=case.range.unit,
        weights="",
        scan="",
        precision="",
        source_shape=None if geometry is None else [*geometry.shape],
        source_affine=None if geometry is None else geometry.affine.tolist(),
        source_dtype=None if geometry is None else geometry.dtype,
    )
