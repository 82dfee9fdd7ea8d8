"""The settings of `vae3d import` and `vae3d export`."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from vae3d.bounds import (
    CODE,
    NAME,
    PATH,
    Above,
    AtLeast,
    LowHigh,
    OneOf,
    PerAxis,
    Settings,
)

TARGETS = ("monai", "torch", "onnx")
TENSOR_FORMATS = ("safetensors", "pt")


@dataclass
class ExportConfig(Settings):
    """The settings of an export."""

    run: Annotated[str | None, PATH] = None
    """Run folder, or a folder of weights, as in run=runs/ct64; must be given."""
    weights: Annotated[str, OneOf("auto", "best", "latest")] = "auto"
    """Weights of the run: the best ones, the latest ones, or auto for the best where there are
    any."""
    to: Annotated[str | None, OneOf(*TARGETS)] = None
    """What to write: the tensors and arguments of MONAI's network, graphs of torch.export, or
    ONNX; must be given."""
    output: Annotated[str | None, PATH] = None
    """Folder to write to; must be given."""
    tensors: Annotated[str, OneOf(*TENSOR_FORMATS)] = "safetensors"
    """File format of the tensors with to=monai."""
    plugins: Annotated[list[str], CODE] = field(default_factory=list)
    """Python modules to import first, for weights that use norms or activations of your own; taken
    from the command line only."""


KINDS = ("monai", "features")
NETWORKS = (
    *("vgg16", "alexnet", "squeezenet1_1", "radimagenet_resnet50", "radimagenet_resnet50_keras"),
    *("medicalnet_resnet10", "medicalnet_resnet18", "medicalnet_resnet34", "medicalnet_resnet50"),
)
OF_KIND = {
    "monai": ("window", "percentiles", "spacing", "norm_groups", "head_channels", "unit_range"),
    "features": ("network", "heads"),
}
"""The settings that one kind alone has."""


@dataclass
class ImportConfig(Settings):
    """The settings of an import."""

    kind: Annotated[str | None, OneOf(*KINDS)] = None
    """What the file holds: an autoencoder of MONAI, or a network whose features a perceptual loss
    compares; must be given."""
    input: Annotated[str | None, PATH] = None
    """File of tensors, .safetensors or of torch.save; must be given."""
    output: Annotated[str | None, PATH] = None
    """Folder to write to; must be given."""
    licence: Annotated[str | None, NAME] = None
    """Licence of the file, as apache-2.0, which is recorded with the result."""
    window: Annotated[Any, LowHigh(nullable=True)] = None
    """Values in HU that kind=monai was trained with, [low, high], for CT."""
    percentiles: Annotated[Any, LowHigh((0, 100), nullable=True)] = None
    """Percentiles of each scan that kind=monai was trained with, [low, high], for MR."""
    spacing: Annotated[Any, PerAxis(Above(0), axes=(3,), whole=False, nullable=True)] = None
    """Spacing (D, H, W) in mm that kind=monai was trained with; null keeps that of each scan."""
    norm_groups: Annotated[int, AtLeast(1)] = 32
    """Groups of the norms with kind=monai, which a file does not state: norm_num_groups."""
    head_channels: Annotated[int | None, AtLeast(1)] = None
    """Channels of an attention head with kind=monai, which a file does not state; null is a single
    head, as MONAI's own."""
    unit_range: bool = False
    """Whether kind=monai was trained on images in [0, 1], as MAISI was, instead of [-1, 1]."""
    network: Annotated[str | None, OneOf(*NETWORKS)] = None
    """Network that the file must hold with kind=features; null recognises it."""
    heads: Annotated[str | None, PATH] = None
    """File with the weights that LPIPS gives to the layers of the network, with kind=features."""
