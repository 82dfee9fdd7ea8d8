"""`Contender`: ways from a whole volume to its latent and back, of vae3d and of MONAI."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.machine import version
from peers import MONAI_CHANNELS
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.run.config import TrainConfig

CPU = torch.device("cpu")
DIRECTIONS = ("encode", "decode")
Way = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sizes:
    """The volume, the memory of vae3d in GiB, MONAI's windows and splits, and how often.

    `own_process` measures each call in a new Python, whose memory holds nothing else.
    """

    model: str = "small"
    shape: tuple[int, ...] = (128, 256, 256)
    memory: tuple[float, ...] = (0.5, 0.15)
    size: int = 64
    overlap: tuple[float, ...] = (0.25, 0.5, 0.4)
    batch: int = 4
    splits: tuple[int, ...] = (1, 4)
    channels: tuple[int, ...] = MONAI_CHANNELS
    blocks: int = 1
    rounds: int = 2
    limit: float = 0.0
    own_process: bool = True

    def check(self) -> None:
        """Raise a ValueError if windows would be padded or parts of MAISI's axis left out."""
        factor = settings(self.model).model.factor
        for sides in (self.shape, (self.size,) * 3):
            if any(n % f for n, f in zip(sides, factor, strict=True)):
                raise ValueError(f"shape and size must be multiples of {factor}")
        for count in self.splits:
            if not splits_fit(count, self.shape[1]):
                raise ValueError(
                    f"splits={count} needs a second axis that is a multiple of {4 * count} and "
                    f"at least {12 * count}"
                )


@dataclass(frozen=True)
class Contender:
    """`make` builds a network; it returns its encoding (B, C, *spatial), its decoding and itself.

    The first of each `family` that fits is what the others are compared with.
    """

    name: str
    family: str
    make: Callable[[], tuple[Way, Way, nn.Module]]


def contenders(sizes: Sizes) -> list[Contender]:
    """Return the rows of both families: ways around vae3d's network, and MAISI's autoencoder."""
    rows = [Contender("vae3d, in one pass", "vae3d", partial(ours, sizes, None))]
    for memory in sizes.memory:
        name = f"vae3d, `memory={memory:g}`"
        rows.append(Contender(name, "vae3d", partial(ours, sizes, memory)))
    if version("monai") is None:
        return rows
    factor = settings(sizes.model).model.factor
    for overlap in sizes.overlap:
        # MONAI's own rounding of the distance between two windows.
        step = int(sizes.size * (1 - overlap))
        beside = ", off the latent grid" if any(step % f for f in factor) else ""
        name = f"MONAI windows of {sizes.size}, overlap {overlap:g}{beside}"
        rows.append(Contender(name, "vae3d", partial(windows, sizes, overlap)))
    for count in sizes.splits:
        name = f"MONAI AutoencoderKlMaisi, `num_splits={count}`"
        rows.append(Contender(name, "maisi", partial(maisi, sizes, count)))
    return rows


def ours(sizes: Sizes, memory: float | None) -> tuple[Way, Way, nn.Module]:
    """Return vae3d's own ways, in one pass or in `memory` GiB."""
    model = network(sizes.model)
    return (
        lambda image: model.encode(image, memory).mean,
        lambda latent: model.decode(latent, memory=memory),
        model,
    )


def windows(sizes: Sizes, overlap: float) -> tuple[Way, Way, nn.Module]:
    """Return MONAI's inferer around vae3d's network; a window is no larger than the volume."""
    from monai.inferers import SlidingWindowInferer

    model = network(sizes.model)
    image_roi = tuple(min(sizes.size, n) for n in sizes.shape)
    latent_roi = model.latent_size(image_roi)

    def inferred(roi: tuple[int, ...], function: Way) -> Way:
        inferer = SlidingWindowInferer(
            roi_size=roi,
            sw_batch_size=sizes.batch,
            overlap=overlap,
            mode="gaussian",
            progress=False,
        )
        return lambda x: inferer(x, function)

    return (
        inferred(image_roi, lambda image: model.encode(image).mean),
        inferred(latent_roi, model.decode),
        model,
    )


def maisi(sizes: Sizes, splits: int) -> tuple[Way, Way, nn.Module]:
    """Return MAISI's autoencoder, its convolutions in `splits` parts along the second axis."""
    from monai.apps.generation.maisi.networks.autoencoderkl_maisi import AutoencoderKlMaisi

    torch.manual_seed(0)
    model: Any = AutoencoderKlMaisi(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        latent_channels=4,
        num_channels=sizes.channels,
        num_res_blocks=(sizes.blocks,) * 3,
        attention_levels=(False,) * 3,
        # 32 groups of 64 channels, as in MAISI's own settings.
        norm_num_groups=sizes.channels[0] // 2,
        num_splits=splits,
        dim_split=1,
    )
    randomise(model)
    return lambda image: model.encode(image)[0], model.decode, model.eval()


def splits_fit(count: int, length: int) -> bool:
    """Return whether MAISI can split an axis: no remainder, and no part below its margin of 3.

    Its narrowest tensors are 4 times smaller than the image. A remainder would be lost.
    """
    return count == 1 or (length % (4 * count) == 0 and length >= 12 * count)


def network(name: str) -> CustomVAE:
    """Return a preset with random weights, where it is fastest."""
    torch.manual_seed(0)
    model = CustomVAE(settings(name).model)
    randomise(model)
    return model.to_device(CPU).eval()


def settings(name: str) -> TrainConfig:
    """Return what `vae3d train model=NAME` would have."""
    config: TrainConfig = composed("train", f"model={name}")
    return config


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Fill what begins as zeros, without which much of the network would be silent."""
    for parameter in model.parameters():
        if not parameter.any():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 100
            parameter.normal_(0, 1 / math.sqrt(inputs))
