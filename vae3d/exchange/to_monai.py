"""A network as MONAI's `AutoencoderKL` or `AutoencoderKlMaisi`: arguments and state dict.

The reverse of `vae3d/autoencoder/monai.py`, without MONAI.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vae3d.autoencoder.monai import State, module_names
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.model.config import VAEConfig
from vae3d.model.vae import LOGVAR_RANGE

KL = "monai.networks.nets.AutoencoderKL"
MAISI = "monai.apps.generation.maisi.networks.autoencoderkl_maisi.AutoencoderKlMaisi"
GROUP_EPS, INSTANCE_EPS = 1e-6, 1e-5
"""The eps of norm=group, which is MONAI's default, and of norm=instance."""


@dataclass(frozen=True)
class MonaiNetwork:
    """What builds the network in MONAI: its class, the constructor's arguments, the tensors."""

    name: str
    arguments: dict[str, Any]
    state: State


def to_monai(model: CustomVAE) -> MonaiNetwork:
    """Return a network of MONAI whose output is the model's own up to rounding.

    `AutoencoderKL(**arguments).load_state_dict(state)` takes the tensors, with strict=True. Most
    of them are those of the model, not copies.

    Raises:
        ConfigError: MONAI has no such network; the message lists all keys that it cannot express.
    """
    reasons = why_not_monai(model.config)
    if reasons:
        raise ConfigError(f"to=monai: MONAI cannot express this network: {'; '.join(reasons)}")
    name = MAISI if _is_maisi(model.config) else KL
    return MonaiNetwork(name, _arguments(model.config), dict(_state(model)))


def why_not_monai(config: VAEConfig) -> list[str]:
    """Return what MONAI's networks cannot express, as `key=value: reason`; empty if they can."""
    return [*_fixed(config), *_of_levels(config), *_of_attention(config)]


def _fixed(config: VAEConfig) -> Iterator[str]:
    """Yield the values of the whole network that MONAI does not have."""
    channels = {level.channels for level in config.levels}
    if config.norm == "instance" and len(channels) > 1:
        yield "model.norm=instance: group norm equals it only if all levels have equal channels"
    elif config.norm not in ("group", "instance"):
        yield f"model.norm={config.norm}: it has norms over groups of channels and space alone"
    if config.upsampling == "pixel_shuffle" and len(config.levels) > 1:
        yield "model.upsampling=pixel_shuffle: it has nearest, transposed, and linear in 3D"
    if _is_maisi(config) and config.dims == 2:
        yield "model.upsampling=linear: AutoencoderKlMaisi, which has it, is for volumes"
    if config.shortcuts and any(max(lv.strides(config.dims)) > 1 for lv in config.levels):
        yield "model.shortcuts=true: it has none around its changes of resolution"
    for key, usual in (("folding", "blocks"), ("head_overlap", False)):
        if getattr(config, key) != usual:
            yield f"model.{key}={_typed(getattr(config, key))}: it does not fold voxels"
    if max(config.patches) > 1:
        yield f"model.patch={[*config.patch]}: it does not fold voxels into channels"
    if config.widening == "step" and len(channels) > 1:
        yield "model.widening=step: its strided convolutions keep the number of channels"
    one_value: tuple[tuple[str, Any, str], ...] = (
        ("activation", "silu", "its activation is silu"),
        ("downsampling", "end_padded", "it pads the end alone"),
        ("final_activation", "none", "it has no final activation"),
        ("residual_scale", 1.0, "it does not scale residual blocks"),
        ("head_norm", True, "it has a norm before its output convolutions"),
        ("head_activation", False, "it has no activation before its output convolutions"),
        ("head_kernel", 3, "its output convolution has a kernel of 3"),
        ("projection", True, "it has 1x1 convolutions on both sides of the latent"),
    )
    for key, only, reason in one_value:
        value = getattr(config, key)
        if value != only:
            yield f"model.{key}={_typed(value)}: {reason}"
    if config.variance == "fsq":
        yield "model.variance=fsq: its latents are samples of a normal distribution"
    if config.variance == "fixed" and not _is_in_range(config.fixed_std):
        yield f"model.fixed_std={config.fixed_std:g}: it is outside of its clamped range"


def _of_levels(config: VAEConfig) -> Iterator[str]:
    before = config.levels[0].channels
    for index, level in enumerate(config.levels):
        key, stride = f"model.levels.{index}", level.strides(config.dims)
        wanted = 2 if index else 1
        if any(side != wanted for side in stride):
            which = "the others" if index else "the first level"
            yield f"{key}.stride={[*stride]}: {which} must have {wanted} along every axis"
        if level.decoder_blocks not in (None, level.blocks):
            yield f"{key}.decoder_blocks={level.decoder_blocks}: its decoder mirrors the encoder"
        if level.blocks == 0 and level.channels != before:
            yield f"{key}.blocks=0: without a block the channels cannot change"
        if level.blocks == 0 and level.channels != _deeper(config, index):
            yield f"{key}.blocks=0: without a block the decoder's channels cannot change"
        before = level.channels


def _deeper(config: VAEConfig, index: int) -> int:
    return config.levels[min(index + 1, len(config.levels) - 1)].channels


def _of_attention(config: VAEConfig) -> Iterator[str]:
    kinds = {f"model.levels.{i}.attention": level for i, level in enumerate(config.levels)}
    used = {key: (level.attention, level.channels) for key, level in kinds.items()}
    used["model.attention.bottleneck"] = config.attention.bottleneck, config.levels[-1].channels
    for key, (kind, channels) in used.items():
        if kind == "windowed":
            yield f"{key}=windowed: its attention is over the whole grid"
        elif kind == "global" and config.attention.heads(channels) > 1:
            size = config.attention.head_channels
            yield f"model.attention.head_channels={size}: its attention has a single head ({key})"


def _is_maisi(config: VAEConfig) -> bool:
    """Return whether only `AutoencoderKlMaisi` has the upsampling of the network."""
    return config.upsampling == "linear" and len(config.levels) > 1


def _is_in_range(std: float) -> bool:
    low, high = LOGVAR_RANGE
    return low <= 2 * math.log(std) <= high


def _typed(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _arguments(config: VAEConfig) -> dict[str, Any]:
    """Return the constructor's arguments, all of them plain values."""
    is_instance = config.norm == "instance"
    middle = config.attention.bottleneck == "global"
    channels = [level.channels for level in config.levels]
    arguments: dict[str, Any] = {
        "spatial_dims": config.dims,
        "in_channels": config.in_channels,
        "out_channels": config.in_channels,
        "latent_channels": config.latent_channels,
        "num_res_blocks": [level.blocks for level in config.levels],
        "attention_levels": [level.attention == "global" for level in config.levels],
        "norm_num_groups": channels[0] if is_instance else config.norm_groups,
        "norm_eps": INSTANCE_EPS if is_instance else GROUP_EPS,
        "with_encoder_nonlocal_attn": middle,
        "with_decoder_nonlocal_attn": middle,
        "include_fc": True,
        "use_combined_linear": False,
        "use_convtranspose": config.upsampling == "transposed",
    }
    if not _is_maisi(config):
        return {**arguments, "channels": channels}
    # One piece and float32: the result is the model's own.
    return {
        **arguments,
        **{"num_channels": channels, "num_splits": 1, "print_info": False, "norm_float16": False},
    }


def _state(model: CustomVAE) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under MONAI's names."""
    state = {name: value.detach() for name, value in model.state_dict().items()}
    for part in ("encoder", "decoder"):
        for number, prefix in enumerate(module_names(model, part)):
            own = {
                name.removeprefix(f"{prefix}."): value
                for name, value in state.items()
                if name.startswith(f"{prefix}.")
            }
            for name, value in _renamed(own, prefix, model.config):
                yield f"{part}.blocks.{number}.{name}", value
    yield from _projections(state, model.config)


def _renamed(own: State, prefix: str, config: VAEConfig) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one module under their names in MONAI's module of this kind."""
    if "qkv.weight" in own:
        yield from _attention(own)
        return
    outer, wrapper = _wrappers(prefix, config)
    for name, value in own.items():
        module, _, kind = name.rpartition(".")
        if own[f"{module}.weight".lstrip(".")].dim() == 1:  # a norm
            yield name, value
        else:
            module = module.replace("skip", "nin_shortcut")
            yield ".".join(filter(None, (outer, module, wrapper, kind))), value


def _wrappers(prefix: str, config: VAEConfig) -> tuple[str, str]:
    """Return the names around a module's convolutions: in front of it, and behind it."""
    step = re.search(r"levels\.\d+\.(downsample|upsample)\b", prefix)
    maisi = _is_maisi(config)
    if step and step[1] == "upsample" and config.upsampling == "transposed":
        return "", "deconv"
    outer = "" if step is None else "postconv" if step[1] == "upsample" and not maisi else "conv"
    # The blocks around the bottleneck's attention are AutoencoderKL's in both networks.
    return outer, "conv.conv" if maisi and ".middle." not in prefix else "conv"


def _attention(own: State) -> Iterator[tuple[str, Tensor]]:
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", own[f"norm.{kind}"]
        for name, part in zip("qkv", own[f"qkv.{kind}"].chunk(3), strict=True):
            yield f"attn.to_{name}.{kind}", part.clone()
        yield f"attn.out_proj.{kind}", own[f"out.{kind}"]


def _projections(state: State, config: VAEConfig) -> Iterator[tuple[str, Tensor]]:
    """Yield the 1x1 convolutions on both sides of the latent."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for kind in ("weight", "bias"):
        whole = state[f"encoder.projection.{kind}"]
        if config.variance == "learned":
            mean, logvar = whole.chunk(2)
        else:
            # The same log-variance for every image.
            value = 0.0 if kind == "weight" else 2 * math.log(config.fixed_std)
            mean, logvar = whole, torch.full_like(whole, value)
        parts["quant_conv_mu"][kind] = mean.clone()
        parts["quant_conv_log_sigma"][kind] = logvar.clone()
        parts["post_quant_conv"][kind] = state[f"decoder.projection.{kind}"]
    for name, tensors in parts.items():
        yield from ((f"{name}.conv.{kind}", tensor) for kind, tensor in tensors.items())
