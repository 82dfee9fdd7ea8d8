"""Settings of the patches of a training, and the table of blending windows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from vae3d.bounds import AtLeast, Between, PerAxis, Settings
from vae3d.runtime.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

MAX_SIDE = 1024
SIDES = PerAxis(Between(1, MAX_SIDE))

BLENDS: "Registry[Callable[[int], Tensor]]" = Registry(
    "blend",
    {
        "uniform": "vae3d.patching.blending:uniform",
        "hann": "vae3d.patching.blending:hann",
        "gaussian": "vae3d.patching.blending:gaussian",
    },
)
"""Weights along one axis of a patch, by name."""


@dataclass
class PatchingConfig(Settings, key="patching"):
    """Which patches of a volume an epoch takes.

    `sampler` is the `module:class` that draws them, `mode` how validation sends a volume through
    the model.
    """

    sampler: ClassVar[str] = ""
    mode: ClassVar[str] = "patch"


@dataclass
class WholeVolumeConfig(PatchingConfig):
    """The volume itself."""

    sampler: ClassVar[str] = "vae3d.patching.samplers:WholeVolume"
    mode: ClassVar[str] = "full"


@dataclass
class GridPatchesConfig(PatchingConfig):
    """Every patch of a regular grid; the last one of each axis ends with the volume."""

    sampler: ClassVar[str] = "vae3d.patching.samplers:GridPatches"

    size: Annotated[Any, SIDES] = (32,)
    """Side of a patch in voxels, one number or one per axis (depth, height, width); larger patches
    show more context and cost more memory."""
    overlap: Annotated[float, Between(0, 1, "[)")] = 0.0
    """Share of a patch that the next one along an axis covers too; higher values mean more patches
    an epoch."""


@dataclass
class RandomPatchesConfig(PatchingConfig):
    """Fresh patches at random places of every volume in every epoch."""

    sampler: ClassVar[str] = "vae3d.patching.samplers:RandomPatches"

    size: Annotated[Any, SIDES] = (32,)
    """Side of a patch in voxels, one number or one per axis (depth, height, width); larger patches
    show more context and cost more memory."""
    per_volume: Annotated[int, AtLeast(1)] = 8
    """Patches an epoch takes from every volume."""
    foreground: Annotated[float, Between(0, 1)] = 0.5
    """Share of the patches placed around a foreground voxel; air alone teaches the network
    nothing."""
    threshold: float | None = None
    """Value above which a voxel is foreground, in the scan's units; null is a tenth of the
    intensity range above its low end."""


PATCHING: dict[str, type[PatchingConfig]] = {
    "none": WholeVolumeConfig,
    "full": GridPatchesConfig,
    "random_parts": RandomPatchesConfig,
}
"""The options of the group `patching`."""
