"""`Meter`: the bytes that a computation holds, counted without computing it."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from vae3d.streaming.operators import made_without_values


@contextlib.contextmanager
def metered() -> Iterator["Meter"]:
    """A `Meter` that counts while it is entered, without a graph for gradients."""
    with torch.no_grad(), _AtOnce(), Meter() as meter:
        yield meter


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
        result = made_without_values(func, args)
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


def _storages(values: Any) -> list[torch.UntypedStorage]:
    leaves, _ = tree_flatten(values)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor)]
