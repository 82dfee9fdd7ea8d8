"""`Meter`: count the bytes of the tensors of a computation, without computing it."""

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vae3d.layers.operators import TorchDispatchMode, meta_output, tree_flatten


@contextlib.contextmanager
def metered() -> Iterator["Meter"]:
    """Yield a `Meter` that counts inside the context, without a graph for gradients."""
    with torch.no_grad(), _FusedAttention(), Meter() as meter:
        yield meter


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors as they are created and freed: now (`bytes`) and at the peak.

    `largest` is the number of elements of the largest tensor that was created.

    It also works on the meta device, where nothing is computed. Tensors that existed before are
    not counted, nor is the memory that a kernel allocates for itself.

    `TorchDispatchMode` and `tree_flatten` are private to torch; nothing public sees each operator.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0
        self.peak = 0
        self.largest = 0
        self._registered: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to skip the mode torch would import its compiler, which takes a second."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call the operator and count the tensors that it creates."""
        for storage in _storages((args, kwargs)):
            self._registered.add(storage)
        result = meta_output(func, args)
        if result is NotImplemented:
            result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self.largest = max(self.largest, tensor.numel())
            storage = tensor.untyped_storage()
            if storage not in self._registered:
                self._registered.add(storage)
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return result

    def _count(self, number: int) -> None:
        self.bytes += number
        self.peak = max(self.peak, self.bytes)


class _FusedAttention(TorchFunctionMode):
    """Counts attention as one kernel, as devices compute it.

    On the meta device torch would split it into operators and count a table of all pairs.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Return an output of the query's size for attention on the meta device."""
        if func is torch.nn.functional.scaled_dot_product_attention and args[0].is_meta:
            return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [tensor.untyped_storage() for tensor in _tensors(values)]


def _tensors(values: Any) -> list[Tensor]:
    leaves, _ = tree_flatten(values)
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]
