"""`Network`: an autoencoder of another program, and what it must be able to do."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from vae3d.errors import ConfigError, UserError
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.model.vae import VALUE_BITS
from vae3d.system.limits import limit_reached

MAX_NAMED = 3
"""Tensors that a message names."""
MAX_SURPLUS = 10
"""Parameters for each tensor of its file from which on a network is not built any further."""
MAX_REASON = 300
"""Characters of another program's message that are repeated."""


@dataclass(frozen=True)
class LatentParts(DiagonalGaussian):
    """Latents that are no single grid: for each image what its encoder returned.

    Their `mean` and `logvar` are empty.
    """

    parts: tuple[Any, ...] = ()

    @classmethod
    def of(cls, parts: tuple[Any, ...]) -> "LatentParts":
        """Return the latents of images."""
        return cls(torch.empty(0), torch.empty(0), parts)

    def mode(self) -> Any:
        """Return what the decoder takes."""
        return self.parts


class Network(nn.Module):
    """An encoder and a decoder of images (B, C, *spatial) in a range, sizes and axes of their own.

    `name` is for messages and reports, `spatial_dims` the number of axes of its images. The first
    one is the time of a video if `frames` is true: it takes n k + 1 of them, where n is its factor
    in time, times `frame_groups`. `in_channels` None takes any number. `bits` are those of a value
    of its latent, as it would be stored, and `values` the values at each place of the latent, by
    default its channels.
    """

    frames = False
    frame_groups = 1
    """Frames of the latent that must be decoded together."""
    bits: float = VALUE_BITS
    values: int | None = None
    multiples: tuple[int, ...] | None = None
    """What the sides of its images must be multiples of; None is the factor of its trial."""

    def __init__(self, name: str, spatial_dims: int, in_channels: int | None) -> None:
        super().__init__()
        self.name = name
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels

    @property
    def trial(self) -> tuple[int, ...]:
        """The size of the images of its trial."""
        return (64, 64) if self.spatial_dims == 2 else (32, 32, 32)

    @property
    def parameters_count(self) -> int | None:
        """The number of its parameters; None if it is not known."""
        return sum(p.numel() for p in self.parameters()) or None

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """Return the posterior of images."""
        raise NotImplementedError

    def decode(self, latents: Any) -> Tensor:
        """Return the images of latents, as `encode(...).mode()` returned them."""
        raise NotImplementedError


@contextlib.contextmanager
def errors_named(what: str) -> Iterator[None]:
    """Raise the errors of another program's code as a ConfigError on one line.

    Raises:
        ConfigError: any exception but those of vae3d, and of a limit of the machine.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if limit_reached(error) is not None:
            raise
        raise ConfigError(f"{what}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """Return the kind and the message of an exception on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:MAX_REASON]


@contextlib.contextmanager
def built_for(tensors: int) -> Iterator[None]:
    """Refuse a network that no file with this number of tensors can hold, while it is built.

    A number in its arguments may ask for 10^9 blocks, which would be built for days even without
    memory for their tensors. A network that is only somewhat too large is built, so that the names
    of what does not fit can be reported.

    Raises:
        ConfigError: the network has more than MAX_SURPLUS times as many parameters.
    """
    count, limit = 0, MAX_SURPLUS * tensors

    def register(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > limit:
            raise ConfigError(
                f"its arguments describe a network of more than {limit:,} tensors, the file has "
                f"{tensors:,}"
            )

    hook = register_module_parameter_registration_hook(register)
    try:
        yield
    finally:
        hook.remove()


def check_fits(expected: Mapping[str, Tensor], state: Mapping[str, Tensor], network: str) -> None:
    """Compare a state dict with the tensors of a network, which may be on the meta device.

    Raises:
        ConfigError: they do not fit; the message has the first names.
    """
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    findings = {"it lacks": missing, "it has also": unknown, "of another shape are": shapes}
    lines = [f"{text} {first_of(names)}" for text, names in findings.items() if names]
    if lines:
        raise ConfigError(
            f"its tensors are not those of {network} with these arguments: {'; '.join(lines)}"
        )


def first_of(names: list[str]) -> str:
    """Return the first names and how many more there are."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
