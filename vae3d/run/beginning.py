"""`Beginning`: the weights that a training begins with, and what a run records of them."""

import contextlib
import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.autoencoder.description import Ancestor
from vae3d.autoencoder.start import OBJECT, Start, contract_changes, overridden, read_start
from vae3d.autoencoder.vae import CustomVAE
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.data.build import build_source
from vae3d.data.config import DataConfig
from vae3d.errors import ConfigError, RunError, VolumeError
from vae3d.files.atomic import write_json
from vae3d.files.paths import user_path
from vae3d.files.plain import from_plain, read_json
from vae3d.files.reading import reason_of
from vae3d.logger.base import Logger
from vae3d.model.config import VAEConfig
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.run_folder import RunFolder
from vae3d.scans.source import CaseSource
from vae3d.values.contract import InputContract

log = logging.getLogger(__name__)

MAX_TRIED = 10
"""Cases of which one must be readable to know the number of channels."""


@dataclass(frozen=True)
class Asked:
    """What settings say about the network of a training and its weights.

    With `init_from` the architecture is that of these weights, with the keys of `model` that were
    typed by hand; `whole` states that all of it was chosen by hand.
    """

    init_from: str | None
    model: VAEConfig
    whole: bool = False

    def architecture(self, base: VAEConfig) -> VAEConfig:
        """Return the architecture, where that of the weights is `base`."""
        return self.model if self.whole else overridden(base, self.model)


@dataclass(frozen=True)
class StartRecord:
    """What `start.json` of a run states.

    `changes` are what the new data do in another way than those of the weights, `left_out` the
    tensors that did not fit, with the reason.
    """

    started_from: tuple[Ancestor, ...]
    changes: tuple[str, ...] = ()
    left_out: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Extras:
    """What a training from Python may have that no settings can hold.

    `start` is a model to start from, `loggers` are further places where results go.
    """

    start: Start | None = None
    loggers: Sequence[Logger] = ()


class Beginning:
    """The weights that a training begins with: random ones, or those of `init_from`.

    `start` is None for random ones, and once the run has a checkpoint: what it started from is
    never opened again. `init_from` and `model` are the settings that the run records.
    """

    def __init__(
        self,
        folder: RunFolder,
        asked: Asked,
        recorded: Asked | None = None,
        given: Start | None = None,
    ) -> None:
        self.folder = folder
        self.start: Start | None = None
        self.record: StartRecord | None = None
        self.init_from, self.model = asked.init_from, asked.model
        if recorded is None:
            self._open(given)
        elif recorded.init_from is not None:
            self.model = asked.architecture(recorded.model)
            if is_same_place(asked.init_from, recorded.init_from):
                self.init_from = recorded.init_from
                self._resume(given)
            return
        if self.start is not None:
            self.model = asked.architecture(self.start.config)

    def settings(self, plugins: list[str]) -> dict[str, Any]:
        """Return the settings that the run records, where those of its plugins were `plugins`."""
        if self.init_from is not None:
            plugins = [*dict.fromkeys([*plugins, *self.model.plugins])]
        return {"init_from": self.init_from, "model": self.model, "plugins": plugins}

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """The weights that the training started from, those that these came from, and so on."""
        return self.record.started_from if self.record else ()

    def _open(self, given: Start | None) -> None:
        if self.init_from is not None:
            self.start = given or read_start(self.init_from)
            self.record = StartRecord(self.start.ancestors)

    def _resume(self, given: Start | None) -> None:
        if not CheckpointFolder(self.folder.checkpoints).steps():
            self._open(given)
            return
        try:
            self.record = from_plain(StartRecord, read_json(self.folder.start))
        except (OSError, ConfigError, TypeError) as error:  # a TypeError if a key is missing
            log.warning(
                f"{self.folder.start}: cannot be read ({reason_of(error)}); the weights will not "
                "state what they were started from"
            )

    def check(self, source: CaseSource | None, data: DataConfig) -> CaseSource | None:
        """Compare the network with the first case of the data, before anything is prepared.

        Returns the source of the cases, if it was opened for that.

        Raises:
            ConfigError: the cases have other axes or channels.
        """
        if self.start is None or not (source or data.source):
            return source
        source = source or build_source(data)
        channels = first_channels(source) if source.spatial_dims == self.model.dims else None
        self.start.check(self.model, source.spatial_dims, channels)
        return source

    def begin(
        self, model: CustomVAE, strict: bool, contract: InputContract, distributed: Distributed
    ) -> None:
        """Copy the weights into a model; report what does not fit and what the data change.

        All ranks call this.

        Raises:
            RunError: tensors do not fit and `strict`, the weights are damaged, or other ranks have
                others under this name.
        """
        if self.start is None:
            return
        if len({*distributed.gather(self.start.ancestors[0].digest)}) > 1:
            raise RunError(
                f"init_from={self.start.name}: ranks have different weights there; name a folder "
                "that all of them share"
            )
        left_out = self.start.load_into(model, strict)
        # They are in the model now; those of a model in Python would stay in memory.
        self.start = dataclasses.replace(self.start, read=dict)
        model.statistics = None if left_out else self.start.statistics
        changes = contract_changes(self.start.contract, contract)
        self.record = StartRecord(self.start.ancestors, (*changes,), left_out)
        log.info(f"starts from {self.start.name} ({self.start.ancestors[0].details})")
        if changes:
            log.info(f"other data than those of {self.start.name}: {'; '.join(changes)}")
        if left_out:
            listed = "; ".join(f"{name} ({reason})" for name, reason in left_out.items())
            log.warning(f"{len(left_out)} tensors of {self.start.name} are left out: {listed}")

    def write(self) -> None:
        """Write `start.json`, if the training starts from weights."""
        if self.start is not None and self.record is not None:
            write_json(self.folder.start, dataclasses.asdict(self.record))


def first_channels(source: CaseSource) -> int | None:
    """Return the channels of the first case that can be read, None without one."""
    for index in range(min(MAX_TRIED, len(source.case_ids))):
        with contextlib.suppress(VolumeError):
            return len(source.read(index).data)
    return None


def is_same_place(one: str | None, other: str | None) -> bool:
    """Return whether two texts name the same weights, whatever the spelling of a path."""
    if one is None or other is None or one.startswith(OBJECT):
        return one == other
    first, second = (os.path.normpath(user_path(text)) for text in (one, other))
    return first == second or Path(first).absolute() == Path(second).absolute()
