"""Weights of feature networks as one folder: `features.json` and `features.safetensors`."""

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vae3d.autoencoder.description import is_licence
from vae3d.autoencoder.state_dicts import State, read_state_dict
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.features.networks import NETWORKS, FeatureNetwork, Shapes, plain_names
from vae3d.files.atomic import file_digest, write_json
from vae3d.files.plain import from_plain, read_json

FEATURES_FILE, TENSOR_FILE = "features.json", "features.safetensors"
FORMAT_VERSION = 1
NOT_FEATURES = ("classifier.", "fc.", "conv_seg.", "linear.")
"""The beginnings of names of layers behind the features, such as a classifier."""


@dataclass(frozen=True)
class Source:
    """Where tensors came from: the SHA-256 of the files, and their licence if it is known."""

    sha256: str = ""
    heads_sha256: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        # They are printed, and the file may come from anyone.
        digests = (self.sha256, *([self.heads_sha256] if self.heads_sha256 is not None else []))
        if not all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in digests):
            raise ConfigError("source: sha256 must be 64 hexadecimal digits")
        if self.licence is not None and not is_licence(self.licence):
            raise ConfigError(f"source: {self.licence!r:.60} is no name of a licence")


@dataclass(frozen=True)
class Features:
    """The weights of a feature network.

    `tensors` are those of `FeatureNetwork.shapes`, and `heads` those of `head_shapes`, or none.
    All of them are float32.
    """

    name: str
    network: FeatureNetwork
    tensors: State
    heads: State
    source: Source

    @property
    def facts(self) -> dict[str, Any]:
        """The plain values of `features.json`, without the digest of the tensors."""
        network = self.network
        return {
            "format_version": FORMAT_VERSION,
            "kind": "features",
            "network": self.name,
            "spatial_dims": network.spatial_dims,
            "layers": [{"name": name, "channels": count} for name, count in network.layers],
            "input": {
                "order": network.order,
                "range": network.range and [*network.range],
                "mean": [*network.mean],
                "std": [*network.std],
            },
            "strides_in": network.strides_in,
            "heads": bool(self.heads),
            "source": dataclasses.asdict(self.source),
        }

    @property
    def lines(self) -> list[str]:
        """What the folder holds, in words, one line each."""
        network = self.network
        parameters = sum(value.numel() for value in self.tensors.values())
        layers = ", ".join(f"{name} ({count})" for name, count in network.layers)
        given = "each volume at mean 0, deviation 1"
        if network.range is not None:
            low, high = network.range
            given = f"{network.order} in [{low:g}, {high:g}], mean {_sides(network.mean)}, "
            given += f"std {_sides(network.std)}"
        return [
            f"network     {self.name}, {network.spatial_dims}D",
            f"layers      {layers}",
            f"input       {given}",
            f"tensors     {len(self.tensors)} with {parameters:,} numbers",
            f"heads       {len(self.heads) or 'none'}",
            f"source      SHA-256 {self.source.sha256[:12]}, "
            f"licence {self.source.licence or 'not given'}",
        ]


def features_of(state: State, chosen: str | None, heads: State | None, source: Source) -> Features:
    """Return the weights of a feature network from tensors under their public names.

    `chosen` is the network that they must be of; None recognises it. Layers behind the features
    are left out.

    Raises:
        ConfigError: they are of no known network, or of another one.
    """
    own = plain_names(iter(state))
    if len({*own.values()}) < len(own):
        raise ConfigError("two tensors have the same name")
    tensors = {name: state[given] for given, name in own.items() if not _is_left_out(name)}
    name = chosen or _recognised(
        tensors, is_backbone=all(n.startswith("backbone.") for n in state)
    )
    network = NETWORKS[name]
    _check(tensors, network.shapes, f"is not {name}")
    kept: State = {}
    if heads is not None:
        if not network.heads:
            raise ConfigError(f"heads: LPIPS has no weights for {name}")
        # LPIPS as a whole holds its network too.
        kept = {n: heads[n] for n in network.head_shapes if n in heads}
        _check(kept, network.head_shapes, f"heads: are not those of {name}")
    return Features(name, network, _copied(tensors), _copied(kept), source)


def write_features(features: Features, folder: Path) -> None:
    """Write the two files into an existing folder."""
    save_file({**features.tensors, **features.heads}, folder / TENSOR_FILE)
    digest = file_digest(folder / TENSOR_FILE)
    write_json(folder / FEATURES_FILE, {**features.facts, "digest": digest})


def read_features(folder: Path) -> Features:
    """Return the weights that `vae3d import kind=features` wrote; no code in them is run.

    Raises:
        RunError: a file is missing or damaged, of a newer format, or says something else than is
            known of the network.
    """
    path = folder / TENSOR_FILE
    facts = read_facts(folder)
    try:
        if file_digest(path) != facts.get("digest"):
            raise RunError(f"{path}: does not have the SHA-256 that {FEATURES_FILE} names")
        name = str(facts.get("network"))
        if name not in NETWORKS:
            raise RunError(f"{folder}: {name!r:.60} is no known network: {', '.join(NETWORKS)}")
        state = read_state_dict(path)
        network = NETWORKS[name]
        heads = {n: v for n, v in state.items() if n in network.head_shapes}
        tensors = {n: v for n, v in state.items() if n not in heads}
        source = from_plain(Source, facts.get("source"), "source")
        features = features_of(tensors, name, heads or None, source)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    except ConfigError as error:
        raise RunError(f"{folder}: {error}") from error
    known = features.facts
    wrong = [key for key in known if known[key] != facts.get(key)]
    if wrong:
        raise RunError(f"{folder / FEATURES_FILE}: {wrong[0]} is not that of {name}")
    return features


def read_facts(folder: Path) -> dict[str, Any]:
    """Return the plain values of `features.json`.

    Raises:
        RunError: it is missing, damaged, or of a newer format.
    """
    path = folder / FEATURES_FILE
    try:
        facts: dict[str, Any] = from_plain(dict[str, Any], read_json(path), FEATURES_FILE)
    except FileNotFoundError:
        raise RunError(f"{folder}: no feature network here ({FEATURES_FILE} is missing)") from None
    except (OSError, UserError) as error:
        raise RunError(f"{path}: {error}") from error
    if facts.get("format_version") != FORMAT_VERSION:
        raise RunError(
            f"{path}: format_version must be {FORMAT_VERSION}; a newer vae3d may have written it"
        )
    return facts


def _copied(state: State) -> State:
    """Return the tensors as float32; those of a file may share memory."""
    return {n: v.detach().to(torch.float32, copy=True).contiguous() for n, v in state.items()}


def _is_left_out(name: str) -> bool:
    return name.startswith(NOT_FEATURES) or name.endswith("num_batches_tracked")


def _recognised(tensors: State, *, is_backbone: bool) -> str:
    """Return the network whose names and shapes the tensors have.

    Raises:
        ConfigError: there is none; the message names the first difference from the most similar.
    """
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    tables = {name: network.shapes for name, network in NETWORKS.items()}
    name = next((name for name, table in tables.items() if table == shapes), None)
    if name == "radimagenet_resnet50" and not is_backbone:
        # torchvision's ResNet50 has the same tensors, trained on photographs.
        raise ConfigError(
            "has the tensors of torchvision's ResNet50, without the prefix backbone. of "
            f"RadImageNet's; add network={name} if it is that one"
        )
    if name is not None:
        return name
    shared = Counter({key: len(table.items() & shapes.items()) for key, table in tables.items()})
    nearest, count = shared.most_common(1)[0]
    if count:
        _check(tensors, tables[nearest], f"is not {nearest}")
    raise ConfigError(f"is of no known network; known are {', '.join(NETWORKS)}")


def _check(tensors: State, expected: Shapes, what: str) -> None:
    """Raise a ConfigError if a name, shape or kind differs, or a number is not finite.

    `what` is the beginning of its message.
    """
    for name in {**expected, **tensors}:
        if name not in tensors:
            raise ConfigError(f"{what}: {name} is missing")
        if name not in expected:
            raise ConfigError(f"{what}: it has no {name:.100}")
        value, shape = tensors[name], tuple(tensors[name].shape)
        if shape != expected[name]:
            raise ConfigError(f"{what}: {name} has shape {shape}, not {expected[name]}")
        if not value.is_floating_point():
            raise ConfigError(f"{what}: {name} holds {value.dtype} numbers")
        if not bool(torch.isfinite(value.float()).all()):
            raise ConfigError(f"{name} holds values that are not finite")


def _sides(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)
