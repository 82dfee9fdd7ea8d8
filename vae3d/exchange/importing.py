"""`import_weights`: a file of another program as a folder that vae3d reads."""

import logging
import re
from pathlib import Path

from vae3d.autoencoder.description import Ancestor, Origin, is_licence, read_description
from vae3d.autoencoder.monai import from_monai
from vae3d.autoencoder.places import holds_weights
from vae3d.autoencoder.state_dicts import State, read_state_dict
from vae3d.autoencoder.vae import CustomVAE
from vae3d.autoencoder.weights import TENSOR_FILE
from vae3d.errors import ConfigError, UserError
from vae3d.exchange.config import OF_KIND, ImportConfig
from vae3d.exchange.output import new_output
from vae3d.features.file import Features, Source, features_of, read_features, write_features
from vae3d.files.atomic import atomic_folder, file_digest
from vae3d.files.checksums import seal
from vae3d.files.paths import user_path
from vae3d.model.config import VAEConfig
from vae3d.values.contract import InputContract
from vae3d.values.intensity import ARBITRARY, IntensityContract
from vae3d.version import __version__

log = logging.getLogger(__name__)

BY = "vae3d import"


def import_weights(config: ImportConfig) -> list[str]:
    """Write the folder `output` from the file `input`, and return what it holds, a line each.

    Raises:
        UserError: a setting is missing or belongs to another kind, the file cannot be read or is
            of no known network, or `output` holds something else.
    """
    source, output = _given(config)
    if config.kind == "features":
        return _import_features(config, source, output).lines
    model = _import_monai(config, source, output)
    count = sum(parameter.numel() for parameter in model.parameters())
    sides = " x ".join(map(str, model.factor))
    return [
        f"parameters  {count:,}",
        f"factor      {sides}, {model.config.latent_channels} latent channels",
        f"licence     {config.licence or 'not given'}",
    ]


def _given(config: ImportConfig) -> tuple[Path, Path]:
    """Return input and output.

    Raises:
        ConfigError: a setting is missing, or belongs to another kind.
    """
    if config.kind is None:
        raise ConfigError("kind must be monai or features")
    if config.input is None:
        raise ConfigError("input must name a file of tensors, for example input=autoencoder.pt")
    if config.output is None:
        raise ConfigError("output must name the folder to write to, for example output=weights/a")
    default = ImportConfig()
    for kind, keys in OF_KIND.items():
        for key in keys:
            if kind != config.kind and getattr(config, key) != getattr(default, key):
                raise ConfigError(f"{key} is for kind={kind}, not for kind={config.kind}")
    if config.licence is not None and not is_licence(config.licence):
        raise ConfigError(
            f"licence must be one word such as apache-2.0 or cc-by-4.0, got {config.licence!r:.60}"
        )
    return user_path(config.input), user_path(config.output)


def _import_monai(config: ImportConfig, source: Path, output: Path) -> CustomVAE:
    contract = _contract(config)
    if source.name == TENSOR_FILE and holds_weights(source.parent):
        raise ConfigError(
            f"{source}: holds vae3d's own weights already; use them as run={source.parent}"
        )
    state = _without_prefix(read_state_dict(source))
    try:
        model = from_monai(
            state,
            norm_groups=config.norm_groups,
            head_channels=config.head_channels,
            unit_range=config.unit_range,
        )
    except UserError as error:
        raise type(error)(f"{source}: {error}") from error
    _report_left_out(source, state)
    ancestor = Ancestor(digest=_digest(source), licence=config.licence or "", by="monai")
    model.contract = contract
    model.origin = Origin(BY, __version__, started_from=(ancestor,))
    with new_output(output, lambda: _holds(output, model)) as wanted:
        if wanted:
            model.save_pretrained(output)
            log.info(f"{output}: written")
    return model


def _contract(config: ImportConfig) -> InputContract:
    """Return how scans become the input of an autoencoder.

    Raises:
        ConfigError: neither or both ranges are given.
    """
    if (config.window is None) == (config.percentiles is None):
        raise ConfigError(
            "give one of window=[low,high], the HU that the network was trained with (CT), and "
            "percentiles=[low,high] (MR); a file does not state them"
        )
    low, high = config.window or config.percentiles
    if config.window is not None:
        intensity = IntensityContract("window", low, high, "HU")
    else:
        intensity = IntensityContract("percentiles", low, high, ARBITRARY)
    return InputContract(intensity, config.spacing)


def _without_prefix(state: State) -> State:
    """Return the tensors without what all names of the autoencoder begin with, and only those."""
    for name in state:
        match = re.match(r"(.{0,200}?)encoder\.blocks\.0\.", name)
        if match and match[1]:
            start = match[1]
            return {n.removeprefix(start): v for n, v in state.items() if n.startswith(start)}
    return state


def _report_left_out(source: Path, state: State) -> None:
    """Warn of tensors that are no part of the network."""
    own = r"(encoder|decoder)\.blocks\.\d{1,4}\.|(quant_conv_(mu|log_sigma)|post_quant_conv)\."
    others = [name for name in state if not re.match(own, name)]
    if others:
        log.warning(
            f"{source}: {len(others)} tensors are no part of the network and are left out, for "
            f"example {others[0]:.100}"
        )


def _holds(output: Path, model: CustomVAE) -> bool:
    """Return whether a folder holds these weights of this file, with the same settings."""
    found = read_description(output)
    origins = (
        found.origin and found.origin.started_from,
        model.origin and model.origin.started_from,
    )
    same = VAEConfig.from_json(found.architecture) == model.config
    return same and found.contract == model.contract and origins[0] == origins[1]


def _import_features(config: ImportConfig, source: Path, output: Path) -> Features:
    heads_path = None if config.heads is None else user_path(config.heads)
    state, heads, heads_digest = read_state_dict(source), None, None
    if heads_path is not None:
        heads, heads_digest = read_state_dict(heads_path), _digest(heads_path)
    origin = Source(_digest(source), heads_digest, config.licence)
    try:
        features = features_of(state, config.network, heads, origin)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from error
    with new_output(output, lambda: read_features(output).facts == features.facts) as wanted:
        if wanted:
            with atomic_folder(output) as temporary:
                write_features(features, temporary)
                seal(temporary, "*")
            log.info(f"{output}: written")
    return features


def _digest(path: Path) -> str:
    """Return the SHA-256 of an input file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return file_digest(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
