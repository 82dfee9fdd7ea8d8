"""`Meter`: the bytes that a computation holds, counted without computing it."""

import contextlib
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


@contextlib.contextmanager
def metered() -> Iterator["Meter"]:
    """A `Meter` that counts while it is entered, without a graph for gradients."""
    with torch.no_grad(), _AtOnce(), Meter() as meter:
        yield meter


aten = torch.ops.aten


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made, as they come and go.

    Works on the meta device too, where nothing is computed. What was there before is not counted,
    nor what a kernel takes for itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch asks whether to import its compiler, which takes a second, to stay out of here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Calls the operator and takes note of what it made."""
        for found in _storages((args, kwargs)):
            self._known.add(found)
        make = MADE_WITHOUT_VALUES.get(func)
        result = make(*args) if make and _without_values(args[0]) else NotImplemented
        if result is NotImplemented:
            result = func(*args, **(kwargs or {}))
        for made in _storages(result):
            if made not in self._known:
                self._known.add(made)
                self._count(made.nbytes())
                weakref.finalize(made, self._count, -made.nbytes())
        return result

    def _count(self, number: int) -> None:
        self.bytes += number
        self.peak = max(self.peak, self.bytes)


class _AtOnce(TorchFunctionMode):
    """Attention as the one kernel that it is on devices; meta tensors take it apart."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The query stands for what attention gives: it is of the same size."""
        if func is torch.nn.functional.scaled_dot_product_attention and args[0].is_meta:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def layer_norm_outputs(x: Tensor, shape: list[int], *_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """What layer norm over the last axes of a tensor without values makes: norm, mean, 1 / std."""
    kept = [*x.shape[: x.dim() - len(shape)], *(1 for _ in shape)]
    mean, rstd = x.new_empty(kept), x.new_empty(kept)
    return torch.empty_like(x, memory_format=torch.contiguous_format), mean, rstd


def _without_values(value: Any) -> bool:
    return bool((value[0] if isinstance(value, list) else value).is_meta)


def _joined(parts: list[Tensor], dim: int = 0) -> Tensor:
    shape = [*parts[0].shape]
    shape[dim] = sum(part.shape[dim] for part in parts)
    return parts[0].new_empty(shape)


def _like(x: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(x)


def _like_both(x: Tensor, other: Any, *_: Any) -> Any:
    same = isinstance(other, Tensor) and (other.shape, other.dtype) == (x.shape, x.dtype)
    return torch.empty_like(x) if same else NotImplemented


MADE_WITHOUT_VALUES: dict[Any, Callable[..., Any]] = {
    aten.native_layer_norm.default: layer_norm_outputs,
    **dict.fromkeys(
        (
            *(aten.relu.default, aten.leaky_relu.default, aten.elu.default, aten.gelu.default),
            *(aten.silu.default, aten.mish.default, aten.hardswish.default, aten.tanh.default),
            *(aten.clamp.default, aten.exp.default, aten.sigmoid.default),
        ),
        _like,
    ),
    aten.add.Tensor: _like_both,
    aten.mul.Tensor: _like_both,
    aten.cat.default: _joined,
}
"""What these operators make of tensors on the meta device, where torch would take them apart and
import its compiler for it, which takes a second."""


def _storages(values: Any) -> list[torch.UntypedStorage]:
    leaves, _ = tree_flatten(values)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]
