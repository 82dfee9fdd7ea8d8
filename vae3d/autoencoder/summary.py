"""`summarise`: the size and cost of an architecture, without computing with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import flop_registry

from vae3d.model.config import VAEConfig
from vae3d.model.vae import VAE
from vae3d.streaming.meter import Meter

POINTWISE_NORMS = ("rms", "layer", "none")


@dataclass(frozen=True)
class Row:
    """One part of the network: its name, the shape of its output, its number of parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class Summary:
    """The size and cost of a model for one image of a given size.

    `flops` counts a multiplication with its addition as two. `receptive_field` is the number of
    voxels along each axis on which a reconstructed voxel depends; None means all of them.
    """

    rows: list[Row]
    parameters: int
    factor: tuple[int, ...]
    latent: tuple[int, ...]
    compression: float
    flops: int
    receptive_field: tuple[int, ...] | None


class FlopMeter(Meter):  # type: ignore[no-untyped-call]
    """Counts floating point operations by torch's own formulas, on the meta device too."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the operator and add its floating point operations."""
        result = super().__torch_dispatch__(func, types, args, kwargs)
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def summarise(config: VAEConfig, size: tuple[int, ...]) -> Summary:
    """Return the summary of a model for one image (in_channels, *size)."""
    with torch.device("meta"):
        model = VAE(config).eval()
        image = torch.empty(1, config.in_channels, *size)
    rows: list[Row] = []
    handles = [
        module.register_forward_hook(partial(_record, rows, name))
        for name, module in _parts(model)
    ]
    with FlopMeter() as counter, torch.no_grad():
        posterior = model.encode(image)
        model.decode(posterior.mode(), size)
    for handle in handles:
        handle.remove()
    return Summary(
        rows=rows,
        parameters=sum(p.numel() for p in model.parameters()),
        factor=model.factor,
        latent=tuple(posterior.mean.shape[1:]),
        compression=image.numel() / posterior.mean.numel(),
        flops=counter.flops,
        receptive_field=receptive_field(config),
    )


def receptive_field(config: VAEConfig) -> tuple[int, ...] | None:
    """Return the voxels along each axis on which a voxel of the reconstruction can depend.

    None if a norm or attention depends on the whole image.
    """
    kinds = {config.attention.bottleneck, *(level.attention for level in config.levels)}
    if config.norm not in POINTWISE_NORMS or "global" in kinds:
        return None
    windows = config.attention.windows(config.dims)
    return tuple(_field_along(config, axis, windows[axis]) for axis in range(config.dims))


def _field_along(config: VAEConfig, axis: int, window: int) -> int:
    """Return the receptive field along an axis: the reaches of all layers plus the voxel itself.

    An upper bound: layers of different grids do not always reach as far as they could.
    """
    jump = config.patches[axis]
    # The voxels of a folded block are read and written together.
    reach = 2 * (jump - 1) + 2 * jump
    attention = {"windowed": 2 * (window - 1)}
    for level in config.levels:
        stride = level.strides(config.dims)[axis]
        if stride > 1:
            reach += (max(3, stride) - 1) * jump
            # Upsampling: its kernel on the finer grid, and the rest of a coarse voxel.
            reach += 2 * jump + 2 * (stride - 1) * jump
        jump *= stride
        up = level.blocks if level.decoder_blocks is None else level.decoder_blocks
        reach += (level.blocks + up) * (4 + attention.get(level.attention, 0)) * jump
    # Heads and stems at the latent, and the bottleneck between them.
    reach += 4 * jump
    if config.attention.bottleneck != "none":
        reach += 2 * (8 + attention["windowed"]) * jump
    if config.folding == "cdf53" and config.patches[axis] > 1:
        # One block on both sides, forwards and back.
        reach += 2 * 2 * config.patches[axis]
    return reach + 2 * config.patches[axis] + 1


def _parts(model: VAE) -> Iterator[tuple[str, nn.Module]]:
    """Yield stems, levels, bottlenecks and heads with their names."""
    for side in ("encoder", "decoder"):
        for name, module in getattr(model, side).named_children():
            if isinstance(module, nn.ModuleList):
                yield from ((f"{side}.{name}.{i}", part) for i, part in enumerate(module))
            elif any(True for _ in module.parameters()):
                yield f"{side}.{name}", module


def _record(rows: list[Row], name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Append the row of a part: a forward hook, once the first two arguments are bound."""
    count = sum(p.numel() for p in module.parameters())
    rows.append(Row(name, tuple(output.shape[1:]), count))
