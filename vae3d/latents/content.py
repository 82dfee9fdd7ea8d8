"""The tensors of a latent's file: mean and log-variance, or the indices of a codebook."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from vae3d.model.gaussian import without_variance
from vae3d.model.quantizer import ScalarQuantizer


def names_of(levels: Sequence[int] | None) -> tuple[str, ...]:
    """Return the names of the tensors, in the order of the checksum.

    `levels` are those of each channel of a quantized latent.
    """
    return ("indices",) if levels else ("mean", "logvar")


def tensors_of(
    mean: Tensor, logvar: Tensor, levels: Sequence[int], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Return the tensors to write: (C, *size) in `dtype`, or indices (*size), int32 or int64."""
    if not levels:
        named = {"mean": mean, "logvar": logvar}
        return {name: value.to(dtype).contiguous() for name, value in named.items()}
    quantizer = ScalarQuantizer(tuple(levels))
    smallest = torch.int32 if quantizer.size <= 2**31 else torch.int64
    return {"indices": quantizer.indices(mean[None])[0].to(smallest).contiguous()}


def moments_of(tensors: Mapping[str, Tensor], levels: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return mean and log-variance (C, *size), float32, from what was written.

    Raises:
        ValueError: an index is not in the codebook.
    """
    if not levels:
        return tensors["mean"].float(), tensors["logvar"].float()
    latents = ScalarQuantizer(tuple(levels)).latents(tensors["indices"][None])
    posterior = without_variance(latents[0])
    return posterior.mean, posterior.logvar
