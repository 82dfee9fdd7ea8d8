"""Weights of MONAI's `AutoencoderKL` and of MAISI's as a `CustomVAE`, without MONAI.

Both number the modules of encoder and decoder from the image to the latent and back, as
`encoder.blocks.7.conv1.conv.weight`; MAISI has one more `conv` in each convolution's name. The
kind of a module follows from the names of its tensors, the architecture from their shapes.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.model.config import AttentionSpec, LevelSpec, VAEConfig

State = dict[str, Tensor]


@dataclass(eq=False)
class Module:
    """One numbered module: `residual`, `attention`, `convolution` or `norm`, and its tensors.

    `resamples` marks the convolution of a downsampling or upsampling, `transposed` one that
    upsamples by itself.
    """

    kind: str
    state: State
    resamples: bool = False
    transposed: bool = False

    @property
    def channels(self) -> int:
        """The number of output channels."""
        name = {"residual": "conv2.weight", "attention": "out.weight"}.get(self.kind, "weight")
        return len(self.state[name])


def from_monai(
    state: State,
    *,
    norm_groups: int = 32,
    head_channels: int | None = None,
    unit_range: bool = False,
) -> CustomVAE:
    """Return a `CustomVAE` with the weights of an `AutoencoderKL` or `AutoencoderKlMaisi`.

    Its output is MONAI's own up to rounding. Three settings are not stored in a state dict: the
    number of groups of the norms, the channels of an attention head (None is a single head), and
    whether images were in [0, 1] (`unit_range`, as for MAISI) instead of vae3d's [-1, 1].

    Raises:
        ConfigError: the weights are of another network.
    """
    if any(re.search(r"quantizer?\.", name) for name in state):
        raise ConfigError(
            "are those of a VQVAE, whose latents are quantized, and vae3d has no such network; to "
            "score it, use vae3d eval autoencoder=monai"
        )
    try:
        encoder, decoder = list(_modules(state, "encoder")), list(_modules(state, "decoder"))
        config = _config(state, encoder, decoder, norm_groups, head_channels)
        # Nothing is allocated until the tensors are known to fit.
        with torch.device("meta"):
            model = CustomVAE(replace(config, unit_range=unit_range))
        renamed = _renamed(model, state, encoder, decoder)
        model.load_state_dict({n: _checked(n, tensor) for n, tensor in renamed}, assign=True)
    except (LookupError, StopIteration, RuntimeError, ValueError, AttributeError) as error:
        # Python's own words for a list that is too short would say nothing.
        lacking = isinstance(error, IndexError | StopIteration)
        reason = "it has other blocks" if lacking else " ".join(str(error).split())
        raise ConfigError(f"not the weights of MONAI's AutoencoderKL: {reason}") from error
    return model.eval()


def _modules(state: State, part: str) -> Iterator[Module]:
    """Yield the numbered modules of `encoder` or `decoder`, in order."""
    numbered: dict[int, State] = defaultdict(dict)
    transposed: set[int] = set()
    for name, tensor in state.items():
        if match := re.match(rf"{part}\.blocks\.(\d{{1,4}})\.(.+)", name):
            numbered[int(match[1])][_plain(match[2])] = tensor
            transposed |= {int(match[1])} if match[2].startswith("deconv.") else set()
    for number in sorted(numbered):
        tensors = numbered[number]
        if "conv1.weight" in tensors:
            yield Module("residual", tensors)
        elif {"attn.to_q.weight", "attn.qkv.weight"} & {*tensors}:
            yield Module("attention", _attention(tensors))
        elif tensors["weight"].dim() == 1:
            yield Module("norm", tensors)
        else:
            edge = number in (0, max(numbered))
            yield Module("convolution", tensors, not edge, number in transposed)


def _plain(name: str) -> str:
    """Return a name without MONAI's wrappers: `conv1.weight` for `conv1.conv.conv.weight`.

    Attention of MONAI Generative Models, which became a part of MONAI, has its present name.
    """
    parts = [part for part in name.split(".") if part not in ("conv", "postconv", "deconv")]
    plain = ".".join(parts).replace("nin_shortcut", "skip").replace("proj_attn", "out_proj")
    return f"attn.{plain}" if re.match(r"(to_[qkv]|out_proj)\.", plain) else plain


def _attention(tensors: State) -> State:
    """Return the tensors of MONAI's attention under the names of vae3d's `Attention`."""
    plain = {f"norm.{kind}": tensors[f"norm.{kind}"] for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        if f"attn.qkv.{kind}" in tensors:
            plain[f"qkv.{kind}"] = tensors[f"attn.qkv.{kind}"]
        else:
            plain[f"qkv.{kind}"] = torch.cat([tensors[f"attn.to_{x}.{kind}"] for x in "qkv"])
        if "attn.out_proj.weight" in tensors:
            plain[f"out.{kind}"] = tensors[f"attn.out_proj.{kind}"]
    if "attn.out_proj.weight" not in tensors:  # include_fc=False
        channels = len(plain["norm.weight"])
        plain["out.weight"], plain["out.bias"] = torch.eye(channels), torch.zeros(channels)
    return plain


def _config(
    state: State,
    encoder: list[Module],
    decoder: list[Module],
    norm_groups: int,
    head_channels: int | None,
) -> VAEConfig:
    middle = _middle(decoder)
    # The encoder ends as the decoder begins: the middle, the norm, the last convolution.
    down = _levels(encoder, encoder[-2 - len(middle) : -2] if middle else [])
    up = _levels(decoder[::-1], middle)
    levels = [
        LevelSpec(
            channels=_last_channels(encoder[0], down[: index + 1]),
            blocks=_blocks(level),
            decoder_blocks=_blocks(mirror) if _blocks(mirror) != _blocks(level) else None,
            stride=(2,) if index else (1,),
            attention="global" if len(level) > _blocks(level) else "none",
        )
        for index, (level, mirror) in enumerate(zip(down, up, strict=True))
    ]
    stem = encoder[0].state["weight"]
    return VAEConfig(
        spatial_dims=stem.dim() - 2,
        in_channels=stem.shape[1],
        latent_channels=len(_latent(state, "quant_conv_mu")["weight"]),
        levels=levels,
        norm="group",
        norm_groups=norm_groups,
        activation="silu",
        upsampling=_upsampling(state, decoder),
        downsampling="end_padded",
        widening="block",
        attention=AttentionSpec(
            bottleneck="global" if middle else "none", head_channels=head_channels
        ),
        projection=True,
        zero_init=False,
        smooth_init=False,
        head_norm=True,
        head_activation=False,
        patch=(1,),
    )


def _upsampling(state: State, decoder: list[Module]) -> str:
    """Return how a decoder goes to the next level: MAISI interpolates linearly."""
    if any(module.transposed for module in decoder):
        return "transposed"
    return "linear" if "encoder.blocks.0.conv.conv.weight" in state else "nearest"


def _last_channels(stem: Module, levels: list[list[Module]]) -> int:
    """Return the channels after the last of these levels; one without blocks keeps them."""
    return [stem, *(module for level in levels for module in level)][-1].channels


def _levels(modules: list[Module], middle: list[Module]) -> list[list[Module]]:
    """Return the residual blocks and attentions of each resolution, without the middle.

    Levels and modules are in the order from the image to the latent.
    """
    levels: list[list[Module]] = [[]]
    for module in modules[1:-1]:
        if module.resamples:
            levels.append([])
        elif module not in middle and module.kind != "norm":
            levels[-1].append(module)
    return levels


def _blocks(level: list[Module]) -> int:
    return sum(module.kind == "residual" for module in level)


def _middle(modules: list[Module]) -> list[Module]:
    """Return the residual block, attention and residual block next to the latent, if any.

    `modules` are the decoder's, in the order from the latent. A level whose blocks have attention
    begins in the same way, but its second residual block is followed by attention.
    """
    kinds = [module.kind for module in modules[1:5]]
    is_middle = kinds[:3] == ["residual", "attention", "residual"] and kinds[3:] != ["attention"]
    return modules[1:4] if is_middle else []


def _checked(name: str, tensor: Tensor) -> Tensor:
    """Return a copy of a tensor as float32.

    Raises:
        ValueError: it holds other numbers, or some that are not finite.
    """
    if not tensor.is_floating_point():
        raise ValueError(f"{name} holds {tensor.dtype} numbers")
    # A copy: tensors of a file may share memory.
    tensor = tensor.to(torch.float32, copy=True)
    if not bool(torch.isfinite(tensor).all()):
        raise ValueError(f"{name} holds values that are not finite")
    return tensor


def _latent(state: State, name: str) -> State:
    return {kind: state[f"{name}.conv.{kind}"] for kind in ("weight", "bias")}


def _renamed(
    model: CustomVAE, state: State, encoder: list[Module], decoder: list[Module]
) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors under their names in a CustomVAE."""
    for part, modules in (("encoder", encoder), ("decoder", decoder)):
        for module, prefix in zip(modules, module_names(model, part), strict=True):
            for name, tensor in module.state.items():
                yield f"{prefix}.{name}", tensor
    mean, logvar = _latent(state, "quant_conv_mu"), _latent(state, "quant_conv_log_sigma")
    for kind in ("weight", "bias"):
        yield f"encoder.projection.{kind}", torch.cat([mean[kind], logvar[kind]])
        yield f"decoder.projection.{kind}", _latent(state, "post_quant_conv")[kind]


def module_names(model: CustomVAE, part: str) -> list[str]:
    """Return the names of a CustomVAE's modules in MONAI's order, of `encoder` or `decoder`."""
    prefixes: list[str] = []
    for name, _ in model.named_parameters():
        if not name.startswith(part) or ".projection." in name:
            continue
        block = re.match(r".*?(levels\.\d+\.blocks\.\d+|middle\.\d+)\.", name)
        prefix = block[0][:-1] if block else name.rpartition(".")[0]
        if prefix not in prefixes:
            prefixes.append(prefix)
    return prefixes
