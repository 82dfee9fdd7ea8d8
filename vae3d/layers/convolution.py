"""Convolutions for 2D and 3D that avoid slow and faulty CPU kernels of torch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vae3d.layers.operators import onednn_convolution, weight_gradient
from vae3d.layers.recomputation import needs_output

MAX_UNFOLDED_VALUES = 20480
"""Channels x depth x height up to which torch 2.13 unfolds a single float32 image instead of
calling oneDNN."""
FEW_CHANNELS = 16
"""Channels up to which oneDNN's own weight gradient of volumes is slow, for images of any size."""
SMALL_BATCH_VALUES = 2**16
"""Values of an image, inputs x voxels, up to which it is slow in a batch."""
SLAB_VALUES = 2**17
"""Values of an image up to which the gradient of slabs is faster than that of planes."""

Triple = tuple[int, int, int]
ONES: Triple = (1, 1, 1)


class SafeConv3d(nn.Conv3d):
    """A Conv3d that avoids three faults of torch's CPU kernels.

    If an axis has two voxels or less, or is shorter than the kernel, it computes in float32: for
    the bfloat16 gradient of a kernel of 3 on an image of 2 x 2 x 2, or of 4 on 3 x 3 x 3, oneDNN
    3.12 reads memory that it never wrote, and returns values of 1e30 and more. For such a small
    image float32 costs nothing.

    For one float32 image of at most MAX_UNFOLDED_VALUES channels x depth x height, torch would
    choose a kernel that unfolds it and is about ten times slower than oneDNN's. `DirectConv3d`
    computes such an image instead; with a stride, torch computes it in a batch of two. A kernel of
    one voxel is a matrix product, for which torch on one thread would unfold batches, too.

    `DirectConv3d` also has the faster weight gradient of few channels and of small images.
    """

    @property
    def kernel(self) -> Tensor:
        """The weights of the convolution."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        # An exported network holds the plain operator: others have no oneDNN, or other sizes.
        if x.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(x)
        if min(x.shape[2:]) <= max(2, max(self.kernel_size) - 1):
            with torch.autocast("cpu", enabled=False):
                return self._forward(x.to(self.weight.dtype))
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        slow = is_slow(x)
        if max(self.kernel_size) == 1:
            return self._matrix_product(x) if slow or is_matrix(x) else super().forward(x)
        plain = (self.kernel_size, self.padding, self.stride) == ((3, 3, 3), ONES, ONES)
        if plain and (slow or self._is_faster_directly(x)):
            result: Tensor = DirectConv3d.apply(x, self.kernel, self.bias)  # type: ignore[no-untyped-call]
            return result
        return super().forward(doubled(x))[:1] if slow else super().forward(x)

    def _matrix_product(self, x: Tensor) -> Tensor:
        """Return the convolution of x by a kernel of one voxel."""
        return F.linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)

    def _is_faster_directly(self, x: Tensor) -> bool:
        few = self.out_channels <= FEW_CHANNELS or x[0].numel() <= SMALL_BATCH_VALUES
        return few and computes_in_float32(x)


class SafeConvTranspose3d(nn.ConvTranspose3d):
    """A ConvTranspose3d that avoids the slow CPU kernel for a single float32 image."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, *(D, H, W) * stride)."""
        exported = torch.compiler.is_exporting()
        if x.device.type == "cpu" and not exported and is_slow(x):
            return super().forward(doubled(x), output_size)[:1]
        return super().forward(x, output_size)


def convolved(conv: Any, x: Tensor, padding: tuple[int, ...]) -> Tensor:
    """Return the output of `conv` for x (B, inputs, *spatial) with another zero padding.

    For inference: gradients do not flow through it.
    """
    if x.dim() == 5 and x.device.type == "cpu" and computes_in_float32(x):
        return _onednn(x, conv.weight, conv.bias, padding, conv.stride)
    function = F.conv3d if x.dim() == 5 else F.conv2d
    return function(x, conv.weight, conv.bias, conv.stride, padding)


def computes_in_float32(x: Tensor) -> bool:
    """Return whether a CPU convolution of x runs in float32 and may use oneDNN."""
    in_float32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return in_float32 and torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled  # type: ignore[no-untyped-call,return-value]


def is_slow(x: Tensor) -> bool:
    """Return whether torch would unfold this image on a CPU, which is slow."""
    small = x.shape[0] == 1 and x[0, ..., 0].numel() <= MAX_UNFOLDED_VALUES
    return small and computes_in_float32(x)


def is_matrix(x: Tensor) -> bool:
    """Return whether the float32 voxels x channels of an image are a matrix in memory."""
    return computes_in_float32(x) and x.is_contiguous(memory_format=torch.channels_last_3d)


def doubled(x: Tensor) -> Tensor:
    """Return (1, C, D, H, W) as a batch of two equal images, for which torch calls oneDNN."""
    return x.expand(2, *x.shape[1:])


class DirectConv3d(torch.autograd.Function):
    """A float32 convolution of kernel 3 by oneDNN, with weight gradients that are faster than its.

    The gradient of the image is the same convolution with the flipped kernel. That of the weight
    is computed from slabs of the image or from its planes (docs/experiments.md).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Map (B, inputs, D, H, W) to (B, outputs, D, H, W)."""
        # The image is needed for the gradient of the weight alone, which may be frozen.
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        # torch's own convolutions save their input, and end a recomputation, before they compute.
        return _onednn(x, weight, bias) if needs_output() else x.new_empty(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of image, weight and bias."""
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        flipped = weight.flip(2, 3, 4).transpose(0, 1)
        return (
            _onednn(gradient, flipped, None) if for_x else None,
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
    """Return the convolution of x (B, inputs, D, H, W) by oneDNN, (B, outputs, ...) in float32.

    oneDNN needs x and weight in the same memory format.
    """
    layout = torch.channels_last_3d
    if not x.is_contiguous(memory_format=layout):
        layout = torch.contiguous_format
    x, weight = x.contiguous(memory_format=layout), weight.contiguous(memory_format=layout)
    return onednn_convolution(x, weight, bias, padding, stride)


def _weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient (outputs, inputs, 3, 3, 3) of the weight.

    From the image (B, inputs, D, H, W) and the output's gradient (B, outputs, D, H, W).
    """
    small = x.shape[1] <= FEW_CHANNELS or x[0].numel() <= SLAB_VALUES
    return _by_slabs(x, gradient) if small and x.shape[2] > 2 else _by_planes(x, gradient)


def _by_slabs(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the weight gradient of images that are padded beforehand along the depth.

    oneDNN is slow where it pads the depth itself. A single image is cut into a batch of two slabs,
    which torch gives to oneDNN.
    """
    depth = x.shape[2]
    if len(x) > 1:
        x = F.pad(x, (0, 0, 0, 0, 1, 1))
    else:
        half = -(-depth // 2)
        end = 2 * half - depth
        x, gradient = F.pad(x, (0, 0, 0, 0, 1, 1 + end)), F.pad(gradient, (0, 0, 0, 0, 0, end))
        x = torch.cat([x[:, :, : half + 2], x[:, :, half:]])
        gradient = torch.cat([gradient[:, :, :half], gradient[:, :, half:]])
    layout = torch.channels_last_3d
    x, gradient = x.contiguous(memory_format=layout), gradient.contiguous(memory_format=layout)
    return weight_gradient(x, gradient, (0, 1, 1))


def _by_planes(x: Tensor, gradient: Tensor) -> Tensor:
    """Return the weight gradient of each of the kernel's planes, that of a 2D convolution.

    Of all planes of the image, paired with the next, the same or the previous plane of the
    output's gradient.
    """
    depth = x.shape[2]
    planes = [weight_gradient(_planes(x), _planes(gradient), (1, 1))]
    forward, back = slice(1, None), slice(depth - 1)
    for of_gradient, of_image in ((forward, back), (back, forward)):
        # Each image separately: planes of different images are not neighbours.
        pairs = zip(x[:, :, of_image], gradient[:, :, of_gradient], strict=True)
        parts = [weight_gradient(_planes(i[None]), _planes(g[None]), (1, 1)) for i, g in pairs]
        planes.append(torch.stack(parts).sum(dim=0))
    centre, before, after = planes
    return torch.stack([before, centre, after], dim=2)


def _planes(volumes: Tensor) -> Tensor:
    """Return (B, C, D, H, W) as (B * D, C, H, W), without a copy if channels are last."""
    return volumes.transpose(1, 2).flatten(0, 1)


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
    """Return a convolution that makes sizes that `stride` divides exactly `stride` times smaller.

    A stride above the kernel widens the kernel, so that no voxel is skipped.
    """
    stride = stride or (1,) * spatial_dims
    kernels = tuple(max(kernel, s) for s in stride)
    padding = tuple((k - 1) // 2 for k in kernels)
    return CONVOLUTIONS[spatial_dims](inputs, outputs, kernels, stride, padding)  # type: ignore[arg-type]
