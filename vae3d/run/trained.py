"""`TrainedRun`: the weights of a training, and the data that fit them."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from vae3d.autoencoder.places import Place, find_weights
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.build import build_source, open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import CaseData, DataConfig, PreparableData, RunData, ScansConfig
from vae3d.data.like import scans_like
from vae3d.data.stored import without_stale_store
from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.choice import check_place
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.runner import ModelRunner
from vae3d.latents.codec import Codec
from vae3d.run.config import TrainConfig
from vae3d.run.saved import load_config
from vae3d.run.trained_config import CodecConfig, TrainedConfig
from vae3d.runtime.distributed import Distributed, start_distributed
from vae3d.runtime.precision import Precision
from vae3d.runtime.progress import Progress
from vae3d.runtime.run_folder import RunFolder
from vae3d.scans.source import CaseSource
from vae3d.settings.saved import describe
from vae3d.values.agreement import DATA, Agreement
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract


@dataclass(frozen=True)
class TrainedRun:
    """A run folder, or a folder of weights without a run, and the ranks that compute with it.

    `allow` names what may differ from the training.
    """

    place: Place
    distributed: Distributed
    allow: tuple[str, ...] = ()

    @classmethod
    @contextlib.contextmanager
    def opened(cls, config: TrainedConfig) -> Iterator["TrainedRun"]:
        """Open the run of `run=` within the context; every rank calls this.

        Raises:
            ConfigError: `run` is None.
        """
        name = config.run_name()
        with start_distributed(config.device, key="device") as distributed:
            place = find_weights(name, config.weights)
            yield cls(place, distributed, (*config.allow,))

    @property
    def folder(self) -> RunFolder:
        """The folder of the run, or of weights without one."""
        return self.place.folder

    @property
    def is_alone(self) -> bool:
        """Whether these are weights without a run."""
        return self.place.is_alone

    marks: ClassVar[tuple[str, ...]] = ()

    def evaluation(self, config: EvaluationConfig, mode: str) -> EvaluationConfig:
        """Return the settings of an evaluation, by default with the training's size of patches."""
        size = config.inference.size
        if size is None and not self.is_alone:
            size = self.settings.evaluation.inference.size
        return replace(config, inference=replace(config.inference, size=size))

    def describe(self) -> dict[str, Any]:
        """Return the settings of the training as plain values; of weights alone their name."""
        if self.is_alone:
            return {"name": self.place.label}
        return describe(self.settings)

    @property
    def weights(self) -> Path:
        """The folder of the weights."""
        return self.place.weights

    @cached_property
    def settings(self) -> TrainConfig:
        """The settings of the training.

        Raises:
            RunError: the folder is no run.
        """
        return load_config(self.folder.config)

    @cached_property
    def model(self) -> CustomVAE:
        """The model, on the CPU until it is moved.

        Raises:
            RunError: the weights are missing or damaged.
        """
        return CustomVAE.from_pretrained(self.weights)

    def codec(self, config: CodecConfig) -> Codec:
        """Return the encoder and decoder of the model, on this rank's device."""
        device = self.distributed.device
        precision = Precision(config.precision, device)
        return Codec(ModelRunner(self.model, device, precision, config.memory))

    @cached_property
    def contract(self) -> InputContract:
        """How scans become the input of the weights.

        Earlier versions recorded the channel with the run alone.

        Raises:
            RunError: the weights are missing or damaged.
        """
        contract = self.model.contract
        if contract.channel is None and self.folder.config.exists():
            return replace(contract, channel=getattr(self.settings.data, "channel", None))
        return contract

    @property
    def intensity(self) -> IntensityContract:
        """How the training chose the intensity range of a scan.

        Raises:
            RunError: the weights hold no intensity contract.
        """
        if self.contract.intensity is None:
            raise RunError(f"{self.folder.path}: its weights hold no intensity contract")
        return self.contract.intensity

    @cached_property
    def agreement(self) -> Agreement:
        """What data may differ in from the training."""
        owner = str(self.folder.path)
        return Agreement(owner, self.contract, self.model.spatial_dims, self.allow)

    def cases(
        self,
        chosen: DataConfig,
        progress: Progress,
        source: CaseSource | None = None,
        once: bool = False,
    ) -> Cases:
        """Open the run's own cases or others, as the weights need them.

        `once` states that each is read a single time: nothing is prepared or cached.

        Raises:
            UserError: the data do not fit the weights, or differ in what `allow` does not name.
        """
        own = self.intensity
        data = self.data(chosen)
        adopt = partial(self.agreement.adopt, self.agreement.on(chosen.given()).intensity or own)
        if source is not None:
            source.contract = adopt(source.contract, source.spatial_dims)
        elif not self.is_alone:
            check_place(data, self.settings.data, self.folder.path)
        if isinstance(chosen, RunData) and not chosen.store and isinstance(data, PreparableData):
            data = without_stale_store(data, source := source or build_source(data))
        cases = open_cases(data.read_once() if once else data, progress, source, adopt)
        # Scans are resampled as they are read; a store, phantoms and a Dataset are as they are.
        spacing = None if cases.spacing is None else (*cases.spacing,)
        self.agreement.on({"spacing": spacing, "channel": cases.channel}, of=DATA)
        return cases

    def data(self, chosen: DataConfig) -> CaseData:
        """Return the run's own data with the chosen keys replaced, or other data.

        Both have the weights' spacing, unless `allow` lets it differ, and are read and resampled
        as for the weights.

        Raises:
            ConfigError: a key does not fit the run's data, they came from a custom Dataset, or
                weights without a run are asked for its data.
        """
        contract = self.agreement.on(chosen.given())
        if self.is_alone and isinstance(chosen, RunData):
            raise ConfigError(
                f"{self.folder.path}: holds weights without a run and its data; name the data, "
                "for example data=ct data.root=/scans"
            )
        trained = chosen if self.is_alone else self.settings.data
        data = chosen.for_run(trained, contract.values)
        return data.keeping({"resampling": contract.resampling, "reader": contract.reader})

    def scans(self, root: str, channel: int | None = None, **given: Any) -> ScansConfig:
        """Return the settings to read scans below a folder, or one scan, for these weights.

        The run's own data may be of any kind. `given` are fields of ScansConfig.
        """
        contract = self.contract
        if channel is not None:
            contract = self.agreement.on({"channel": channel}, {"channel": "channel"})
        # Commands with input= have no settings that choose among scans.
        values = {**given, "root": root, "channel": channel, "label_maps": "keep"}
        values |= {"resampling": contract.resampling, "reader": contract.reader}
        return scans_like(self.intensity, self.model.spatial_dims, contract.spacing, **values)
