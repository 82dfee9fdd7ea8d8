"""`InferenceConfig`: how a volume goes through the model."""

from dataclasses import dataclass
from typing import Annotated, Any

from vae3d.bounds import AtLeast, Between, Gibibytes, OneOf, PerAxis, Settings
from vae3d.patching.config import BLENDS, MAX_SIDE

MODES = ("full", "patch")


@dataclass
class InferenceConfig(Settings, key="evaluation.inference"):
    """How a volume goes through the model."""

    size: Annotated[Any, PerAxis(Between(1, MAX_SIDE), nullable=True)] = None
    """Side of the patches of mode=patch in voxels, one number or one per axis, rounded up to the
    model's factor; null uses the size of the training's patches, or 64."""
    overlap: Annotated[float, Between(0, 1, "[)")] = 0.25
    """Share of a patch that the next one covers too with mode=patch; more hides seams better and
    takes longer."""
    blend: Annotated[str, OneOf(of=BLENDS)] = "hann"
    """Weights with which overlapping patches are averaged."""
    batch_size: Annotated[int, AtLeast(1)] = 4
    """Patches computed together with mode=patch."""
    memory: Annotated[Any, Gibibytes()] = "auto"
    """GiB that the network may use for a whole volume with mode=full; larger volumes go slab by
    slab with the same result; auto is half of the device's memory, null no limit."""
