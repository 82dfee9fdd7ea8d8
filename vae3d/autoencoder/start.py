"""`Start`: the weights that a training starts from, and how much of them fits its network."""

import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vae3d.autoencoder.description import MAX_ANCESTORS, Ancestor, Description, is_licence
from vae3d.autoencoder.hub import HubName
from vae3d.autoencoder.places import find_weights
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import CARD_FILE, FLOATS, TENSOR_FILE, read_weights
from vae3d.errors import ConfigError, RunError
from vae3d.files.atomic import file_digest
from vae3d.files.reading import open_regular
from vae3d.model.config import VAEConfig
from vae3d.runtime.registry import plugin_hint
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.values.latent_statistics import LatentStatistics

MAX_FRONT_MATTER = 2**16
"""Bytes of a model card among which its licence is looked for."""
OBJECT = "sha256:"
"""What the name of weights begins with that were a model in Python, before their SHA-256."""


@dataclass(frozen=True)
class Start:
    """Weights that a training starts from.

    `name` is what the user typed. `shapes` holds the kind (`F32`) and the shape of each tensor,
    and `read` returns them all. `ancestors` are these weights, those that they started from, and
    so on. `statistics` are those of their latents, None if they are not known.
    """

    name: str
    config: VAEConfig
    contract: InputContract
    ancestors: tuple[Ancestor, ...]
    shapes: dict[str, tuple[str, tuple[int, ...]]]
    read: Callable[[], dict[str, Tensor]]
    statistics: LatentStatistics | None = None

    def check(self, config: VAEConfig, spatial_dims: int, channels: int | None) -> None:
        """Compare a network with data, before anything is done with them.

        Raises:
            ConfigError: the data have other axes or channels than the network takes.
        """
        if config.dims != spatial_dims:
            raise ConfigError(
                f"init_from={self.name}: these weights are for {config.dims}D data, these are "
                f"{spatial_dims}D"
            )
        if channels is not None and channels != config.in_channels:
            raise ConfigError(
                f"init_from={self.name}: these weights take images of {config.in_channels} "
                f"channels, these data have {channels}; choose other weights, or add "
                f"model.in_channels={channels} init_strict=false to leave out what does not fit"
            )

    def misfits(self, expected: dict[str, Tensor]) -> dict[str, str]:
        """Return the tensors that do not fit a network's, each with the reason in words."""
        return dict(self._misfits(expected))

    def _misfits(self, expected: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
        for name in {**expected, **self.shapes}:
            if name not in self.shapes:
                yield name, "missing"
            elif name not in expected:
                yield name, "not in the architecture"
            else:
                kind, shape = self.shapes[name]
                own = tuple(expected[name].shape)
                if shape != own:
                    yield name, f"{_sides(shape)} instead of {_sides(own)}"
                elif (kind in FLOATS) != expected[name].is_floating_point():
                    yield name, f"holds {kind} numbers"

    def load_into(self, model: CustomVAE, strict: bool = True) -> dict[str, str]:
        """Copy the tensors that fit into a model; return the others, with the reason in words.

        Tensors of the model that nothing is copied into keep their values.

        Raises:
            RunError: a tensor does not fit and `strict`, none fits, one holds values that are not
                finite, or the file is damaged.
        """
        state = model.state_dict()
        misfits = self.misfits(state)
        fitting = [name for name in self.shapes if name not in misfits]
        listed = "; ".join(f"{name} ({reason})" for name, reason in misfits.items())
        if misfits and (strict or not fitting):
            way = "; init_strict=false leaves them out" if fitting else ""
            raise RunError(
                f"init_from={self.name}: {len(misfits)} tensors do not fit the architecture: "
                f"{listed}{way}"
            )
        tensors = self.read()
        for name in fitting:
            values = tensors[name]
            if values.is_floating_point() and not bool(torch.isfinite(values).all()):
                raise RunError(f"init_from={self.name}: {name} holds values that are not finite")
            # In the network's own type: the weights may be in half precision.
            state[name].copy_(values)
        return misfits


def read_start(name: str) -> Start:
    """Return the weights that a user names: a run, a folder of weights, or `hub:owner/name`.

    Of a run they are the best ones, or the latest if there are no best ones. No tensor is read.

    Raises:
        UserError: there are no such weights, they are damaged, or need a plugin.
    """
    place = find_weights(name)
    weights = read_weights(place.weights)
    description = weights.description
    digest = description.digest or file_digest(place.weights / TENSOR_FILE)
    return Start(
        name=name,
        config=architecture_of(description, name),
        contract=description.contract,
        ancestors=_ancestors(description, digest, licence_of(place.weights), place.hub),
        shapes=weights.shapes,
        read=weights.tensors,
        statistics=description.statistics,
    )


def start_of(model: CustomVAE) -> Start:
    """Return the weights that a model in Python has now."""
    state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    contiguous = {name: value.contiguous() for name, value in state.items()}
    digest = hashlib.sha256(save(contiguous)).hexdigest()
    kinds = {True: "F32", False: "I64"}
    description = Description({}, model.contract, digest, model.origin)
    return Start(
        name=f"{OBJECT}{digest}",
        config=model.config,
        contract=model.contract,
        ancestors=_ancestors(description, digest, "", None),
        shapes={n: (kinds[v.is_floating_point()], tuple(v.shape)) for n, v in state.items()},
        read=lambda: state,
        statistics=model.statistics,
    )


def architecture_of(description: Description, name: str) -> VAEConfig:
    """Return the architecture that a description holds.

    Raises:
        RunError: it is none, or needs a plugin that is not imported.
    """
    try:
        return VAEConfig.from_json(description.architecture)
    except ConfigError as error:
        hint = plugin_hint([*description.plugins])
        raise RunError(f"{name}: its weights fit no architecture: {error}{hint}") from error


def overridden(config: VAEConfig, chosen: VAEConfig) -> VAEConfig:
    """Return an architecture with the keys of `chosen` that were typed by hand.

    Raises:
        ConfigError: together they are no architecture, or the architecture has no such level.
    """
    values, given = dataclasses.asdict(config), dataclasses.asdict(chosen)
    for key in sorted(chosen.typed):
        *above, leaf = (int(part) if part.isdecimal() else part for part in key.split("."))
        try:
            target: Any = values
            source: Any = given
            for part in above:
                target, source = target[part], source[part]
            target[leaf] = source[leaf]
        except LookupError:
            raise ConfigError(
                f"model.{key} is not in the architecture of the weights, which has "
                f"{len(config.levels)} levels"
            ) from None
    return VAEConfig.from_json(values)


def contract_changes(old: InputContract, new: InputContract) -> list[str]:
    """Return how new data become the input of weights in another way, as `old -> new`."""
    changes = []
    if old.intensity is not None and new.intensity is not None:
        pair = _range(old.intensity), _range(new.intensity)
        changes.append(pair)
        if old.spacing != new.spacing:
            changes.append((_spacing(old.spacing), _spacing(new.spacing)))
    return [f"{first} -> {second}" for first, second in changes if first != second]


def licence_of(folder: Path) -> str:
    """Return the licence that the model card of a folder states, empty if it states none.

    Only the `license:` line of the front matter is read, as one word.
    """
    try:
        with open_regular(folder / CARD_FILE) as file:
            text = file.read(MAX_FRONT_MATTER).decode("utf-8", "replace")
    except OSError:
        return ""
    front = re.match(r"\s*---\r?\n(.*?)\n---", text, re.DOTALL)
    entries = (
        dict(re.findall(r"^(license|license_name): *(.*?)\s*$", front[1], re.M)) if front else {}
    )
    word = entries.get("license", "").strip("'\"")
    if word == "other":
        word = entries.get("license_name", word).strip("'\"")
    return word if is_licence(word) else ""


def _ancestors(
    description: Description, digest: str, licence: str, hub: HubName | None
) -> tuple[Ancestor, ...]:
    origin = description.origin
    name = str(hub).removeprefix("hub:") if hub else ""
    maker = (origin.by, origin.version, origin.step) if origin else ("", "", None)
    own = Ancestor(name, digest, licence, *maker)
    earlier = origin.started_from if origin else ()
    return (own, *earlier)[:MAX_ANCESTORS]


def _range(intensity: IntensityContract) -> str:
    unit = f" {intensity.unit}" if intensity.kind == "window" else ""
    return f"{intensity.kind} [{intensity.low:g}, {intensity.high:g}]{unit}"


def _spacing(spacing: tuple[float, ...] | None) -> str:
    if spacing is None:
        return "spacing of the scans"
    return f"spacing [{', '.join(f'{side:g}' for side in spacing)}] mm"


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
