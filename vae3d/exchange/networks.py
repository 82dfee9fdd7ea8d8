"""Networks whose features a perceptual loss compares: their tensors, layers and input.

The names are those of the files that their authors publish, without a prefix of the whole file.
Only the part that computes features is listed, never a classifier.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class FeatureNetwork:
    """A network: the shape of each tensor by name, its layers, and the input that it expects.

    `layers` are the outputs that are compared, from the image on, with their channels. Images are
    first brought to `range`, then `mean` is subtracted and the result divided by `std`, a number
    for each channel in `order`; `range` None means that each volume is brought to mean 0 and
    deviation 1. `strides_in` is the convolution of a bottleneck block that has its stride.
    `heads` says whether LPIPS has weights for it.
    """

    spatial_dims: int
    shapes: Shapes
    layers: tuple[tuple[str, int], ...]
    range: tuple[float, float] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str
    heads: bool = False
    strides_in: str | None = None

    @property
    def head_shapes(self) -> Shapes:
        """The tensors of LPIPS: a weight for each channel of each layer."""
        channels = enumerate(c for _, c in self.layers)
        return {f"lin{i}.model.1.weight": (1, c, 1, 1) for i, c in channels} if self.heads else {}


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _convolutions(entries: dict[int, tuple[int, int, int]]) -> Shapes:
    """Return `features.N` of 2D convolutions: outputs, inputs and the side of the kernel."""
    shapes: Shapes = {}
    for number, (outputs, inputs, side) in entries.items():
        shapes |= _convolution(f"features.{number}", outputs, inputs, side, 2, bias=True)
    return shapes


def _convolution(
    name: str, outputs: int, inputs: int, side: int, dims: int, *, bias: bool
) -> Shapes:
    weight = {f"{name}.weight": (outputs, inputs, *(side,) * dims)}
    return {**weight, f"{name}.bias": (outputs,)} if bias else weight


def _vgg16() -> FeatureNetwork:
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    inputs = (3, *widths[:-1])
    entries = {n: (o, i, 3) for n, o, i in zip(numbers, widths, inputs, strict=True)}
    ends = {"relu1_2": 64, "relu2_2": 128, "relu3_3": 256, "relu4_3": 512, "relu5_3": 512}
    return _of_imagenet(_convolutions(entries), ends)


def _alexnet() -> FeatureNetwork:
    entries = {
        0: (64, 3, 11),
        3: (192, 64, 5),
        6: (384, 192, 3),
        8: (256, 384, 3),
        10: (256, 256, 3),
    }
    ends = {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256}
    return _of_imagenet(_convolutions(entries), ends)


def _squeezenet() -> FeatureNetwork:
    shapes = _convolutions({0: (64, 3, 3)})
    fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
    fires |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    for number, (inputs, squeezed, expanded) in fires.items():
        name = f"features.{number}"
        shapes |= _convolution(f"{name}.squeeze", squeezed, inputs, 1, 2, bias=True)
        shapes |= _convolution(f"{name}.expand1x1", expanded, squeezed, 1, 2, bias=True)
        shapes |= _convolution(f"{name}.expand3x3", expanded, squeezed, 3, 2, bias=True)
    ends = {"relu1": 64, "fire4": 128, "fire7": 256, "fire9": 384, "fire10": 384}
    return _of_imagenet(shapes, {**ends, "fire11": 512, "fire12": 512})


def _of_imagenet(shapes: Shapes, ends: dict[str, int]) -> FeatureNetwork:
    """Return a network of torchvision, for which LPIPS has weights."""
    mean, std = IMAGENET
    return FeatureNetwork(2, shapes, (*ends.items(),), (0.0, 1.0), mean, std, "RGB", heads=True)


def _norm(name: str, channels: int) -> Shapes:
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (channels,) for kind in kinds}


def _resnet(
    blocks: tuple[int, ...], inputs: int, dims: int, *, bottleneck: bool, bias: bool, shortcut: str
) -> Shapes:
    """Return the tensors of a ResNet (He et al. 2016, arXiv:1512.03385) of four stages.

    `shortcut` B is a convolution where a stage begins, A has no tensors.
    """
    shapes = _convolution("conv1", 64, inputs, 7, dims, bias=bias) | _norm("bn1", 64)
    before = 64
    for stage, count in enumerate(blocks, start=1):
        width = 64 * 2 ** (stage - 1)
        outputs = width * 4 if bottleneck else width
        sides = ((width, 1), (width, 3), (outputs, 1)) if bottleneck else ((width, 3),) * 2
        for block in range(count):
            name, channels = f"layer{stage}.{block}", before
            for number, (following, side) in enumerate(sides, start=1):
                shapes |= _convolution(
                    f"{name}.conv{number}", following, channels, side, dims, bias=bias
                )
                shapes |= _norm(f"{name}.bn{number}", following)
                channels = following
            changes = stage > 1 or before != outputs
            if block == 0 and changes and shortcut == "B":
                shapes |= _convolution(f"{name}.downsample.0", outputs, before, 1, dims, bias=bias)
                shapes |= _norm(f"{name}.downsample.1", outputs)
            before = outputs
    return shapes


def _radimagenet(*, from_keras: bool) -> FeatureNetwork:
    """Return RadImageNet's ResNet50: its authors' for PyTorch, or converted from Keras.

    The latter, which MONAI's perceptual loss loads, has biases and strides in another place.
    """
    shapes = _resnet((3, 4, 6, 3), 3, 2, bottleneck=True, bias=from_keras, shortcut="B")
    mean, std = ((0.5,) * 3, (0.5,) * 3)
    if from_keras:
        mean, std = (0.406, 0.456, 0.485), (1.0,) * 3
    ends = _stages(bottleneck=True)
    stride = "conv1" if from_keras else "conv2"
    return FeatureNetwork(2, shapes, ends, (0.0, 1.0), mean, std, "BGR", strides_in=stride)


def _medicalnet(blocks: tuple[int, ...], *, bottleneck: bool, shortcut: str) -> FeatureNetwork:
    """Return a network of MedicalNet (Chen et al. 2019, arXiv:1904.00625)."""
    shapes = _resnet(blocks, 1, 3, bottleneck=bottleneck, bias=False, shortcut=shortcut)
    stride = "conv2" if bottleneck else None
    ends = _stages(bottleneck=bottleneck)
    return FeatureNetwork(3, shapes, ends, None, (), (), "grey", strides_in=stride)


def _stages(*, bottleneck: bool) -> tuple[tuple[str, int], ...]:
    widest = 4 if bottleneck else 1
    stages = ((f"layer{n}", 64 * 2 ** (n - 1) * widest) for n in range(1, 5))
    return (("relu1", 64), *stages)


NETWORKS: dict[str, Callable[[], FeatureNetwork]] = {
    "vgg16": _vgg16,
    "alexnet": _alexnet,
    "squeezenet1_1": _squeezenet,
    "radimagenet_resnet50": lambda: _radimagenet(from_keras=False),
    "radimagenet_resnet50_keras": lambda: _radimagenet(from_keras=True),
    "medicalnet_resnet10": lambda: _medicalnet((1, 1, 1, 1), bottleneck=False, shortcut="B"),
    "medicalnet_resnet18": lambda: _medicalnet((2, 2, 2, 2), bottleneck=False, shortcut="A"),
    "medicalnet_resnet34": lambda: _medicalnet((3, 4, 6, 3), bottleneck=False, shortcut="A"),
    "medicalnet_resnet50": lambda: _medicalnet((3, 4, 6, 3), bottleneck=True, shortcut="B"),
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
