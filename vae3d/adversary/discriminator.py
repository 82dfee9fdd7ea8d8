"""`Discriminator`: which parts of an image are a scan's, and which a reconstruction's."""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae3d.adversary.config import AdversarySpec
from vae3d.layers.convolution import CONVOLUTIONS
from vae3d.layers.norms import leaky_relu
from vae3d.model.config import NORMS
from vae3d.runtime.seeding import derive_seed

KERNEL, PADDING = 4, 1
INITIAL_STD = 0.02
GROUPS = 8
"""Groups of norm=group, or the largest number below that divides them and the channels."""
INITIAL_ITERATIONS = 15
"""Power iterations on new weights; each step does one more."""


class Discriminator(nn.Module):
    """A patch discriminator (Isola et al. 2017, arXiv:1611.07004, section 6.1.2) in 2D and 3D.

    Convolutions of kernel 4, all but the last two with stride 2, and leaky ReLUs. Each output
    judges the part of the image that it sees. Nothing in it depends on the other cases of a batch.
    """

    def __init__(self, spec: AdversarySpec, spatial_dims: int, in_channels: int) -> None:
        super().__init__()
        self.strides = [2] * spec.levels + [1, 1]
        widths = [in_channels, *(spec.channels * 2**n for n in range(spec.levels + 1)), 1]
        self.layers = nn.ModuleList()
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            first, last = number == 0, number == spec.levels + 1
            norm = "none" if first or last else spec.norm
            kernel, stride = ((n,) * spatial_dims for n in (KERNEL, self.strides[number]))
            # Norms but rms have a shift of their own.
            convolution = CONVOLUTIONS[spatial_dims](
                inputs,
                outputs,
                kernel,  # type: ignore[arg-type]
                stride,  # type: ignore[arg-type]
                PADDING,
                bias=norm in ("none", "rms"),
            )
            nn.init.normal_(convolution.weight, 0.0, INITIAL_STD)
            if convolution.bias is not None:
                nn.init.zeros_(convolution.bias)
            groups = math.gcd(GROUPS, outputs)
            self.layers.append(
                nn.Sequential(
                    SpectralNorm(convolution) if spec.spectral_norm else convolution,
                    NORMS[norm](spatial_dims, outputs, groups),
                    nn.Identity() if last else leaky_relu(),
                )
            )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each layer for images (B, C, *spatial) in [-1, 1].

        The last ones are the output (B, 1, *places). Images of less than `least_side` voxels along
        an axis are padded with zeros, as the convolutions pad them.
        """
        missing = [max(0, self.least_side - side) for side in image.shape[2:]]
        # F.pad counts axes from the last one.
        x = F.pad(image, [n for m in reversed(missing) for n in (0, m)]) if any(missing) else image
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features

    @property
    def least_side(self) -> int:
        """The smallest number of voxels along an axis for which there is an output."""
        side = 1
        for stride in reversed(self.strides):
            side = (side - 1) * stride + KERNEL - 2 * PADDING
        return side

    def iterate(self) -> None:
        """Do one power iteration for each spectral norm; once per step, not in each pass."""
        for module in self.modules():
            if isinstance(module, SpectralNorm):
                module.iterate()


class PlaneDiscriminator(Discriminator):
    """A discriminator of images that judges the slices of volumes along each axis."""

    def __init__(self, spec: AdversarySpec, in_channels: int) -> None:
        super().__init__(spec, 2, in_channels)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the features of each axis and layer for volumes (B, C, D, H, W) in [-1, 1].

        Features are (B, C, slices, *spatial), the output (B, places) has those of all slices.
        """
        features, outputs = [], []
        for axis in (2, 3, 4):
            slices = image.movedim(axis, 1)
            of_layers = super().forward(slices.flatten(0, 1))
            count = slices.shape[:2]
            *inner, output = (x.reshape(*count, *x.shape[1:]).transpose(1, 2) for x in of_layers)
            features += inner
            outputs.append(output.flatten(1))
        return [*features, torch.cat(outputs, dim=1)]


class SpectralNorm(nn.Module):
    """A convolution whose weight is divided by its largest singular value, as a matrix.

    Miyato et al. 2018 (arXiv:1802.05957, algorithm 1). Forward passes leave its state as it is, so
    that a step does not depend on their number.
    """

    left: Tensor
    right: Tensor

    def __init__(self, convolution: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.bias, convolution.bias = convolution.bias, None
        self.convolution = convolution
        outputs, *inputs = convolution.weight.shape
        self.register_buffer("left", F.normalize(torch.randn(outputs), dim=0))
        self.register_buffer("right", torch.zeros(math.prod(inputs)))
        for _ in range(INITIAL_ITERATIONS):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        """Do one power iteration."""
        matrix = self.convolution.weight.flatten(1)
        self.right.copy_(F.normalize(matrix.T @ self.left, dim=0))
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, *spatial) to (B, outputs, *spatial)."""
        with torch.autocast(x.device.type, enabled=False):
            norm = self.left @ (self.convolution.weight.flatten(1) @ self.right)
        # Dividing the output equals dividing the weight.
        y: Tensor = self.convolution(x) / norm.to(x.dtype)
        if self.bias is None:
            return y
        return y + self.bias.to(y.dtype).reshape(-1, *(1,) * (x.dim() - 2))


def build_discriminator(
    spec: AdversarySpec, spatial_dims: int, in_channels: int, seed: int
) -> Discriminator:
    """Return a discriminator whose weights depend on the seed alone.

    Torch's global generator stays as it is: nothing else depends on whether there is one.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "discriminator"))
        return new_discriminator(spec, spatial_dims, in_channels)


def new_discriminator(spec: AdversarySpec, spatial_dims: int, in_channels: int) -> Discriminator:
    """Return a discriminator whose weights come from torch's global generator."""
    if spec.planes:
        return PlaneDiscriminator(spec, in_channels)
    return Discriminator(spec, spatial_dims, in_channels)
