"""The private parts of torch that vae3d uses, and nothing else of it.

Two convolutions are called directly, and some outputs on the meta device (tensors with a shape and
a type, without values) are computed here: torch computes them in Python and imports its compiler
to do so, which takes more than a second. tests/model/test_convolution.py has the signature of each
operator.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

__all__ = [
    "META_OUTPUTS",
    "TorchDispatchMode",
    "as_convolution",
    "meta_output",
    "onednn_convolution",
    "tensors_without_values",
    "tree_flatten",
    "weight_gradient",
]

aten = torch.ops.aten


def layer_norm_outputs(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the outputs of layer norm over the last axes: normalised x, mean, 1 / std."""
    moments = [*x.shape[: x.dim() - len(shape)], *(1 for _ in shape)]
    return _empty(x, x.shape), _empty(x, moments), _empty(x, moments)


def convolution_output(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    transposed: bool = False,
    output_padding: Any = 0,
    groups: int = 1,
) -> Tensor:
    """Return the output (B, C, *spatial) of a convolution; one number stands for all axes."""
    steps = [_per_axis(value, x) for value in (stride, padding, dilation, output_padding)]
    axes = zip(x.shape[2:], weight.shape[2:], *steps, strict=True)
    if transposed:
        size = [(n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in axes]
        return _empty(x, (len(x), weight.shape[1] * groups, *size))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in axes]
    return _empty(x, (len(x), weight.shape[0], *size))


def _inference_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Return the same for the operator of inference mode."""
    return convolution_output(x, weight, bias, stride, padding, dilation, groups=groups)


def _inference_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """Return the same for the transposed operator of inference mode."""
    return convolution_output(
        x, weight, bias, stride, padding, dilation, True, output_padding, groups
    )


def _per_axis(value: Any, x: Tensor) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * (x.dim() - 2) if len(values) == 1 else values


def _empty(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a meta tensor of this shape; `empty_like` would import torch's compiler."""
    return torch.empty(shape, dtype=x.dtype, device=x.device)


def meta_output(func: Any, args: tuple[Any, ...]) -> Any:
    """Return the output of an operator of META_OUTPUTS for meta tensors, else NotImplemented."""
    output = META_OUTPUTS.get(func)
    return output(*args) if output and _is_meta(args[0]) else NotImplemented


def _is_meta(value: Any) -> bool:
    return bool((value[0] if isinstance(value, list) else value).is_meta)


def _concatenated(parts: list[Tensor], dim: int = 0) -> Tensor:
    shape = [*parts[0].shape]
    shape[dim] = sum(part.shape[dim] for part in parts)
    return _empty(parts[0], shape)


def _like(x: Tensor, *_: Any) -> Tensor:
    return _empty(x, x.shape)


def _like_both(x: Tensor, other: Any, *_: Any) -> Any:
    same = isinstance(other, Tensor) and (other.shape, other.dtype) == (x.shape, x.dtype)
    return _empty(x, x.shape) if same else NotImplemented


META_OUTPUTS: dict[Any, Callable[..., Any]] = {
    aten.native_layer_norm.default: layer_norm_outputs,
    aten.convolution.default: convolution_output,
    # Inference mode calls these instead of the ones above.
    aten.conv2d.default: _inference_convolution,
    aten.conv3d.default: _inference_convolution,
    aten.conv_transpose2d.input: _inference_transposed,
    aten.conv_transpose3d.input: _inference_transposed,
    aten.layer_norm.default: lambda *args: layer_norm_outputs(*args)[0],
    **dict.fromkeys(
        (
            *(aten.relu.default, aten.leaky_relu.default, aten.elu.default, aten.gelu.default),
            *(aten.silu.default, aten.mish.default, aten.hardswish.default, aten.tanh.default),
            *(aten.clamp.default, aten.exp.default, aten.sigmoid.default),
            aten.clone.default,
        ),
        _like,
    ),
    aten.add.Tensor: _like_both,
    aten.mul.Tensor: _like_both,
    aten.cat.default: _concatenated,
}
"""The function of each operator that returns its output for meta tensors."""


def onednn_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    padding: Sequence[int],
    stride: Sequence[int],
    groups: int = 1,
) -> Tensor:
    """Return a convolution by oneDNN, of tensors in one memory format.

    Called directly, because torch itself would choose a slower kernel for some shapes.
    """
    dilation = (1,) * len(stride)
    return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)


def weight_gradient(x: Tensor, gradient: Tensor, padding: Sequence[int]) -> Tensor:
    """Return the gradient (outputs, inputs, 3, ...) of a kernel of 3 with this zero padding.

    From images (B, inputs, *spatial) and the output's gradient (B, outputs, *spatial). The
    operator is private to torch. It is called directly because the functions of `torch.nn.grad` do
    not pass on that the weight has channels last.
    """
    axes = x.dim() - 2
    layout = torch.channels_last if axes == 2 else torch.channels_last_3d
    weight = x.new_empty(gradient.shape[1], x.shape[1], *(3,) * axes).to(memory_format=layout)
    result: Tensor = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,  # sizes of the bias
        (1,) * axes,  # stride
        padding,
        (1,) * axes,  # dilation
        False,  # transposed
        (0,) * axes,  # output padding
        1,  # groups
        (False, True, False),  # which gradients: image, weight, bias
    )[1]
    return result


def tensors_without_values() -> contextlib.AbstractContextManager[Any]:
    """Return a context whose tensors have a device but neither values nor memory.

    Unlike those of the meta device they pass through autocast and the device's own operators.
    Importing this takes more than a second.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode()


def as_convolution(func: Any, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return an operator and its arguments, of oneDNN's convolution as torch's own.

    Only the latter takes tensors without values.
    """
    if func is not aten.mkldnn_convolution.default:
        return func, args
    x, weight, bias, padding, stride, dilation, groups = args
    whole = (x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups)
    return aten.convolution.default, whole
