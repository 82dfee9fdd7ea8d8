"""Fingerprints of weights: of all of them, and of the encoder and the decoder on their own."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae3d.model.config import VAEConfig

TRAINING = ("checkpointing", "dropout", "smooth_init", "zero_init")
"""Settings of an architecture that have no effect on what trained weights compute."""
LATER = ("fsq_levels", "shortcuts", "folding", "head_overlap")
"""Settings that earlier versions did not have: the fingerprints of their weights stay."""
NOT_OF = {
    "encoder": (*TRAINING, "final_activation", "head_kernel", "head_overlap", "upsampling"),
    "decoder": (*TRAINING, "downsampling", "fixed_std", "fsq_levels", "variance"),
}
"""Settings of an architecture that have no effect on one side of it."""


@dataclass(frozen=True)
class Fingerprints:
    """The SHA-256 of the `encoder` and of the `decoder` of weights, in hexadecimal digits.

    Latents of one encoder are read by every decoder that was trained on them.
    """

    encoder: str
    decoder: str

    @classmethod
    def of(cls, config: VAEConfig, state: Mapping[str, Tensor]) -> "Fingerprints":
        """Return the fingerprints of the weights `state` of an architecture."""
        return cls(*(_of_side(config, state, side) for side in ("encoder", "decoder")))


def fingerprint(config: VAEConfig, state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of an architecture and its tensors, in hexadecimal digits.

    Settings that later versions added take part where they are not at their defaults.
    """
    usual = dataclasses.asdict(VAEConfig())
    values = dataclasses.asdict(config)
    later = {name for name in LATER if values[name] == usual[name]}
    return _digest({k: v for k, v in values.items() if k not in later}, state)


def have_same_encoder(
    recorded: tuple[str, str | None], weights: str, fingerprints: Fingerprints
) -> bool:
    """Return whether latents fit weights: their encoder is the same, or all of the weights.

    `recorded` are the fingerprints of the weights and of the encoder that are stored with the
    latents; earlier versions stored no encoder.
    """
    whole, encoder = recorded
    return fingerprints.encoder == encoder if encoder else whole == weights


def _of_side(config: VAEConfig, state: Mapping[str, Tensor], side: str) -> str:
    """Return the fingerprint of one side, from the settings that differ from their defaults.

    A setting that a later version adds does not change it.
    """
    usual = dataclasses.asdict(VAEConfig())
    values = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in NOT_OF[side] and (name == "levels" or value != usual[name])
    }
    values["levels"] = [_level(level, side) for level in values["levels"]]
    values["spatial_dims"] = config.dims
    tensors = {name: value for name, value in state.items() if name.startswith(f"{side}.")}
    return _digest({"side": side, **values}, tensors)


def _level(level: dict[str, Any], side: str) -> dict[str, Any]:
    """Return the settings of a level with the number of blocks of one side."""
    values = dict(level)
    own = values.pop("decoder_blocks")
    if side == "decoder" and own is not None:
        values["blocks"] = own
    return values


def _digest(values: dict[str, Any], state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
