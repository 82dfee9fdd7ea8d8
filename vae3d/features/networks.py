"""The public networks whose features are compared: how they compute, their layers and input.

The names of their tensors are those of the files that their authors publish, without a prefix of
the whole file. Only the part that computes features is listed, never a classifier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor, nn

from vae3d.features.convolutions import alexnet, squeezenet, vgg16
from vae3d.features.resnet import EXPANSION, WIDTHS, ResNet, ResNetShape

Shapes = dict[str, tuple[int, ...]]


class HasFeatures(Protocol):
    """What the module of a feature network can do."""

    def outputs(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the features of images, layer by layer."""
        ...


@dataclass(frozen=True)
class FeatureNetwork:
    """A network: how it is built, its layers, and the input that it expects.

    `build` returns a module with `outputs`, see `HasFeatures`. `layers` are these outputs, from
    the image on, with their channels. Images are first brought to `range`, then `mean` is
    subtracted and the result divided by `std`, a number for each channel in `order`; `range` None
    means that each volume is brought to mean 0 and deviation 1. `strides_in` is the convolution of
    a bottleneck block that has its stride. `heads` says whether LPIPS has weights for it. An image
    needs `least` voxels along each axis.
    """

    spatial_dims: int
    build: Callable[[], nn.Module]
    layers: tuple[tuple[str, int], ...]
    range: tuple[float, float] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str
    heads: bool = False
    strides_in: str | None = None
    least: int = 1

    @cached_property
    def shapes(self) -> Shapes:
        """The shape of each tensor by name."""
        with torch.device("meta"):
            return {name: tuple(v.shape) for name, v in self.build().state_dict().items()}

    @property
    def head_shapes(self) -> Shapes:
        """The tensors of LPIPS: a weight for each channel of each layer."""
        channels = enumerate(c for _, c in self.layers)
        return {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in channels} if self.heads else {}

    @property
    def compared(self) -> tuple[str, ...]:
        """The layers that are compared by default.

        LPIPS compares all layers of its networks, MONAI the last one of a ResNet.
        """
        names = tuple(name for name, _ in self.layers)
        return names if self.heads else names[-1:]


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _of_imagenet(
    build: Callable[[], nn.Module], least: int, layers: dict[str, int]
) -> FeatureNetwork:
    """Return a network of torchvision, for which LPIPS has weights."""
    mean, std = IMAGENET
    return FeatureNetwork(
        2, build, (*layers.items(),), (0.0, 1.0), mean, std, "RGB", heads=True, least=least
    )


def _radimagenet(*, from_keras: bool) -> FeatureNetwork:
    """Return RadImageNet's ResNet50: its authors' for PyTorch, or converted from Keras.

    The latter, which MONAI's perceptual loss loads, has biases and strides in another place.
    """
    stride = "conv1" if from_keras else "conv2"
    shape = ResNetShape(2, 3, (3, 4, 6, 3), bottleneck=True, strides_in=stride)
    mean, std = ((0.5,) * 3, (0.5,) * 3)
    if from_keras:
        shape = replace(shape, bias=True, eps=1.001e-5)
        mean, std = (0.406, 0.456, 0.485), (1.0,) * 3
    return _resnet(shape, (0.0, 1.0), mean, std, "BGR")


def _medicalnet(
    blocks: tuple[int, ...], *, bottleneck: bool = False, shortcut: str = "B"
) -> FeatureNetwork:
    """Return a network of MedicalNet (Chen et al. 2019, arXiv:1904.00625).

    Its last two stages have dilated convolutions in place of strides.
    """
    shape = ResNetShape(
        3, 1, blocks, bottleneck, "conv2" if bottleneck else None,
        strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), shortcut=shortcut,
    )  # fmt: skip
    return _resnet(shape, None, (), (), "grey")


def _resnet(
    shape: ResNetShape,
    values: tuple[float, float] | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    order: str,
) -> FeatureNetwork:
    widest = EXPANSION if shape.bottleneck else 1
    stages = ((f"layer{n}", width * widest) for n, width in enumerate(WIDTHS, start=1))
    layers = (("relu1", WIDTHS[0]), *stages)
    build = partial(ResNet, shape)
    return FeatureNetwork(
        shape.dims, build, layers, values, mean, std, order, strides_in=shape.strides_in
    )


NETWORKS: dict[str, FeatureNetwork] = {
    "vgg16": _of_imagenet(
        vgg16,
        16,
        {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512},
    ),
    "alexnet": _of_imagenet(
        alexnet, 31, {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256}
    ),
    "squeezenet1_1": _of_imagenet(
        squeezenet,
        17,
        {"relu1": 64, "fire4": 128, "fire7": 256, "fire9": 384, "fire10": 384}
        | {"fire11": 512, "fire12": 512},
    ),
    "radimagenet_resnet50": _radimagenet(from_keras=False),
    "radimagenet_resnet50_keras": _radimagenet(from_keras=True),
    "medicalnet_resnet10": _medicalnet((1, 1, 1, 1)),
    "medicalnet_resnet18": _medicalnet((2, 2, 2, 2), shortcut="A"),
    "medicalnet_resnet34": _medicalnet((3, 4, 6, 3), shortcut="A"),
    "medicalnet_resnet50": _medicalnet((3, 4, 6, 3), bottleneck=True),
}
"""The networks by name; the names are those of `ImportConfig.network`."""
RADIMAGENET_PARTS = {
    "0": "conv1",
    "1": "bn1",
    **{str(n + 3): f"layer{n}" for n in range(1, 5)},
}
"""The parts of torchvision's ResNet by their number, as `backbone.0.weight` of RadImageNet."""
PREFIXES = ("module.", "backbone.", "model.", "net.")


def plain_names(names: Iterator[str]) -> dict[str, str]:
    """Return the names of a file as those of `FeatureNetwork.shapes`, by the file's own."""
    plain = {name: name for name in names}
    for prefix in PREFIXES:
        if plain and all(name.startswith(prefix) for name in plain.values()):
            plain = {own: name.removeprefix(prefix) for own, name in plain.items()}
            if prefix == "backbone.":
                plain = {own: _part(name) for own, name in plain.items()}
    return plain


def _part(name: str) -> str:
    number, dot, rest = name.partition(".")
    return f"{RADIMAGENET_PARTS.get(number, number)}{dot}{rest}"
