"""What operators make of tensors without values: their shapes and types, and nothing else.

On the meta device torch takes some of them apart in Python and imports its compiler for it, which
takes more than a second; these are known.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def layer_norm_outputs(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What layer norm over the last axes of a tensor without values makes: norm, mean, 1 / std."""
    kept = [*x.shape[: x.dim() - len(shape)], *(1 for _ in shape)]
    return _empty(x, x.shape), _empty(x, kept), _empty(x, kept)


def convolution_output(
    x: Tensor,
    weight: Tensor,
    bias: Any,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
) -> Tensor:
    """What a convolution of tensors without values makes: (B, C, *spatial)."""
    kernel = weight.shape[2:]
    axes = zip(x.shape[2:], kernel, stride, padding, dilation, output_padding, strict=True)
    if transposed:
        size = [(n - 1) * s - 2 * p + d * (k - 1) + more + 1 for n, k, s, p, d, more in axes]
        return _empty(x, (len(x), weight.shape[1] * groups, *size))
    size = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in axes]
    return _empty(x, (len(x), weight.shape[0], *size))


def _convolved(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """The same for a convolution as inference mode calls it."""
    stride, padding, dilation = (_per_axis(value, x) for value in (stride, padding, dilation))
    none = _per_axis(0, x)
    return convolution_output(x, weight, bias, stride, padding, dilation, False, none, groups)


def _convolved_back(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The same for a transposed convolution as inference mode calls it."""
    stride, padding, dilation = (_per_axis(value, x) for value in (stride, padding, dilation))
    more = _per_axis(output_padding, x)
    return convolution_output(x, weight, bias, stride, padding, dilation, True, more, groups)


def _per_axis(value: Any, x: Tensor) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * (x.dim() - 2) if len(values) == 1 else values


def _empty(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor without values of this shape; `empty_like` would import torch's compiler."""
    return torch.empty(shape, dtype=x.dtype, device=x.device)


def made_without_values(func: Any, args: tuple[Any, ...]) -> Any:
    """What an operator makes of tensors on the meta device; else NotImplemented."""
    make = MADE_WITHOUT_VALUES.get(func)
    return make(*args) if make and _without_values(args[0]) else NotImplemented


def _without_values(value: Any) -> bool:
    return bool((value[0] if isinstance(value, list) else value).is_meta)


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    shape = [*parts[0].shape]
    shape[dim] = sum(part.shape[dim] for part in parts)
    return _empty(parts[0], shape)


def _like(x: Tensor, *_: Any) -> Tensor:
    return _empty(x, x.shape)


def _like_both(x: Tensor, other: Any, *_: Any) -> Any:
    same = isinstance(other, Tensor) and (other.shape, other.dtype) == (x.shape, x.dtype)
    return _empty(x, x.shape) if same else NotImplemented


MADE_WITHOUT_VALUES: dict[Any, Callable[..., Any]] = {
    aten.native_layer_norm.default: layer_norm_outputs,
    aten.convolution.default: convolution_output,
    # What inference mode calls instead.
    aten.conv2d.default: _convolved,
    aten.conv3d.default: _convolved,
    aten.conv_transpose2d.input: _convolved_back,
    aten.conv_transpose3d.input: _convolved_back,
    aten.layer_norm.default: lambda *given: layer_norm_outputs(*given)[0],
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
    aten.cat.default: _joined,
}
"""The operators that are known, with what they make."""
