"""`open_extractor`: the feature network that a user names, checked before it is used."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vae3d.autoencoder.places import find_weights
from vae3d.autoencoder.start import architecture_of
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import read_weights
from vae3d.errors import ConfigError, RunError
from vae3d.features.encoder import EncoderFeatures
from vae3d.features.extractor import FeatureExtractor, Input, Name
from vae3d.features.file import FEATURES_FILE, read_facts, read_features
from vae3d.features.networks import NETWORKS
from vae3d.files.atomic import file_digest
from vae3d.files.paths import user_path

Range = tuple[float, float]


def open_extractor(
    name: str,
    layers: Sequence[str] = (),
    values: Range | None = None,
    *,
    empty: bool = False,
) -> FeatureExtractor:
    """Return the network that a folder holds: of `vae3d import kind=features`, a run, or weights.

    `layers` are the ones to compare, none of them are the network's usual ones; `values` is the
    range to which images are brought, None is the network's own. An `empty` one has no values, and
    only its description is read. Nothing is downloaded.

    Raises:
        ConfigError: the network has no such layer, or takes no range.
        RunError: there is no such folder, or it is damaged.
    """
    folder = user_path(name)
    if not folder.is_dir():
        raise RunError(f"{name}: {_missing(folder)}")
    if (folder / FEATURES_FILE).exists():
        return _public(name, folder, layers, values, empty)
    return _own(name, folder, layers, values, empty)


def _missing(folder: Path) -> str:
    if os.path.lexists(folder):
        return (
            f"is a file, not a folder; vae3d import kind=features input={folder} output=FOLDER "
            "makes one of the weights of a feature network"
        )
    return (
        "no such folder; name one of vae3d import kind=features, or an earlier run whose encoder "
        "is to be used"
    )


def _public(
    name: str, folder: Path, layers: Sequence[str], values: Range | None, empty: bool
) -> FeatureExtractor:
    facts = read_facts(folder)
    known = str(facts.get("network"))
    if known not in NETWORKS:
        raise RunError(f"{folder}: {known!r:.60} is no known network: {', '.join(NETWORKS)}")
    network = NETWORKS[known]
    if values is not None and network.range is None:
        raise ConfigError(
            f"{name}: {known} takes each volume at mean 0 and deviation 1; drop range"
        )
    heads: dict[str, Tensor] = {}
    if empty:
        module = network.build()
    else:
        features = read_features(folder)
        heads = features.heads
        with torch.device("meta"):
            module = network.build()
        module.load_state_dict(features.tensors, assign=True)
    label = f"{known} with the weights of LPIPS" if heads else known
    digest = "" if empty else str(facts.get("digest"))
    extractor = FeatureExtractor(
        Name(name, label, digest),
        module,
        network.spatial_dims,
        Input.of(network, values),
        network.layers,
        layers or network.compared,
    )
    for number, (layer, _) in enumerate(network.layers):
        if heads and layer in extractor.compared:
            head = heads[f"lin{number}.model.1.weight"].flatten()
            extractor.get_buffer(f"head_{layer}").copy_(head)
    return extractor


def _own(
    name: str, folder: Path, layers: Sequence[str], values: Range | None, empty: bool
) -> FeatureExtractor:
    weights = find_weights(folder).weights
    if values is not None:
        raise ConfigError(f"{name}: an encoder of vae3d takes images as they are; drop range")
    digest = ""
    if empty:
        model = CustomVAE(architecture_of(read_weights(weights).description, name))
    else:
        found = read_weights(weights)
        model = CustomVAE.from_pretrained(weights)
        digest = found.description.digest or file_digest(found.path)
    network = EncoderFeatures(model)
    return FeatureExtractor(
        Name(name, "the encoder of these weights", digest),
        network,
        model.spatial_dims,
        Input(model.config.in_channels),
        network.layers,
        layers or [layer for layer, _ in network.layers],
    )
