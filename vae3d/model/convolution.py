"""Convolutions for 2D and 3D that stay clear of what torch's CPU kernels do badly."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SLOW_IMAGE = 20480
"""torch 2.13 takes oneDNN for a single float32 image only above so many numbers a column."""
FEW_CHANNELS = 16
"""Up to so many channels oneDNN's weight gradient of planes is faster than that of volumes,
in images of MANY_VOXELS."""
MANY_VOXELS = 2**14

Triple = tuple[int, int, int]
ONES: Triple = (1, 1, 1)


class SafeConv3d(nn.Conv3d):
    """A Conv3d that stays clear of three faults of torch's CPU kernels.

    Where an axis has two voxels or less it computes in float32: oneDNN 3.12 reads memory it never
    wrote for the bfloat16 gradient of a kernel of 3 on an image of 2 x 2 x 2, values of 1e30 and
    more. An image so small costs nothing.

    One float32 image whose channels x depth x height are SLOW_IMAGE or less would go to a kernel
    that unfolds it, some ten times slower than oneDNN's: `PlanarConv3d` computes it, or where the
    kernel has a stride, torch as one of a batch of two; a kernel of one voxel is a matrix product.
    `PlanarConv3d` also has the faster gradient for FEW_CHANNELS.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        if x.device.type != "cpu":
            return super().forward(x)
        if min(x.shape[2:]) <= 2:
            with torch.autocast("cpu", enabled=False):
                return self._forward(x.to(self.weight.dtype))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        slow = is_slow(x)
        if max(self.kernel_size) == 1:
            return self._of_voxels(x) if slow else super().forward(x)
        if self._is_plain() and (slow or self._is_faster_by_planes(x)):
            result: Tensor = PlanarConv3d.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
            return result
        return super().forward(doubled(x))[:1] if slow else super().forward(x)

    def _of_voxels(self, x: Tensor) -> Tensor:
        weight = self.weight.flatten(1)
        return F.linear(x.movedim(1, -1), weight, self.bias).movedim(-1, 1)

    def _is_faster_by_planes(self, x: Tensor) -> bool:
        large = x[:, 0].numel() >= MANY_VOXELS
        return large and self.out_channels <= FEW_CHANNELS and computes_in_float32(x)

    def _is_plain(self) -> bool:
        return (self.kernel_size, self.padding, self.stride) == ((3, 3, 3), ONES, ONES)


class SafeConvTranspose3d(nn.ConvTranspose3d):
    """A ConvTranspose3d that keeps a single float32 image on a CPU out of the slow kernel too."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, inputs, D, H, W) to (B, outputs, *(D, H, W) * stride)."""
        if x.device.type == "cpu" and is_slow(x):
            return super().forward(doubled(x), output_size)[:1]
        return super().forward(x, output_size)


def convolved(conv: Any, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """What the convolution makes of x (B, inputs, *spatial) under another padding with zeros.

    For inference: no gradients come back through it.
    """
    if x.dim() == 5 and x.device.type == "cpu" and computes_in_float32(x):
        return _onednn(x, conv.weight, conv.bias, padding, conv.stride)
    function = F.conv3d if x.dim() == 5 else F.conv2d
    return function(x, conv.weight, conv.bias, conv.stride, padding)


def computes_in_float32(x: Tensor) -> bool:
    """Whether a CPU convolution of x runs in float32 and oneDNN may be used for it."""
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return in_float32 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore[no-untyped-call,return-value]


def is_slow(x: Tensor) -> bool:
    """Whether torch would unfold this image on a CPU."""
    return x.shape[0] == 1 and x[0, ..., 0].numel() <= SLOW_IMAGE and computes_in_float32(x)


def doubled(x: Tensor) -> Tensor:
    """(1, C, D, H, W) as a batch of two equal images."""
    return x.expand(2, *x.shape[1:])


class PlanarConv3d(torch.autograd.Function):
    """A float32 convolution of 3 by oneDNN, whose weight gradient is taken plane by plane.

    The image's gradient is the same convolution with the kernel turned round. The weight's is,
    for each of the kernel's three planes, that of a 2D convolution of all planes of the image
    with the planes of the gradient one further, equal, or one back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        ctx.save_for_backward(x, weight)
        return _onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of image, weight and bias."""
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        turned = weight.flip(2, 3, 4).transpose(0, 1)
        return (
            _onednn(gradient, turned, None) if for_x else None,
            _weight_gradient(x, gradient) if for_weight else None,
            gradient.sum((0, 2, 3, 4)) if for_bias else None,
        )


def _onednn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: tuple[int, ...] = ONES,
    stride: tuple[int, ...] = ONES,
) -> Tensor:
    layout = torch.channels_last_3d
    if not x.is_contiguous(memory_format=layout):
        layout = torch.contiguous_format
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    return torch.mkldnn_convolution(x, weight, bias, padding, stride, ONES, 1)


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """(outputs, inputs, 3, 3, 3) from image (B, inputs, ...) and gradient (B, outputs, ...)."""
    depth = x.shape[2]
    planes = [_plane_gradient(_planes(x), _planes(gradient))]
    for far, near in ((slice(1, None), slice(depth - 1)), (slice(depth - 1), slice(1, None))):
        # Planes of different images are no neighbours: each image on its own.
        pairs = zip(x[:, :, near], gradient[:, :, far], strict=True)
        parts = [_plane_gradient(_planes(i[None]), _planes(g[None])) for i, g in pairs]
        planes.append(torch.stack(parts).sum(dim=0))
    centre, before, after = planes
    return torch.stack([before, centre, after], dim=2)


def _planes(volumes: Tensor) -> Tensor:
    """(B, C, D, H, W) as (B * D, C, H, W); no copy where channels are last."""
    return volumes.transpose(1, 2).flatten(0, 1)


def _plane_gradient(planes: Tensor, gradient: Tensor) -> Tensor:
    outputs, inputs = gradient.shape[1], planes.shape[1]
    weight = planes.new_empty(outputs, inputs, 3, 3).to(memory_format=torch.channels_last)
    found: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        planes,
        weight,
        None,
        (1, 1),
        (1, 1),
        (1, 1),
        False,
        (0, 0),
        1,
        (False, True, False),
    )[1]
    return found


CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: SafeConv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: SafeConvTranspose3d,
}


def convolution(
    spatial_dims: int,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: tuple[int, ...] | None = None,
) -> nn.Module:
    """A convolution whose output is exactly `stride` times smaller than a multiple of it.

    A stride above the kernel widens the kernel, so that no voxel is skipped.
    """
    stride = stride or (1,) * spatial_dims
    kernels = tuple(max(kernel, s) for s in stride)
    padding = tuple((k - 1) // 2 for k in kernels)
    return CONVOLUTIONS[spatial_dims](inputs, outputs, kernels, stride, padding)  # type: ignore[arg-type]
