"""VGG16, AlexNet and SqueezeNet 1.1 up to their last features, with torchvision's tensor names."""

from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions between two poolings: configuration D of the paper."""


class Convolutions(nn.Module):
    """Layers that follow each other; the outputs of those numbered in `ends` are features."""

    def __init__(self, layers: Sequence[nn.Module], ends: Collection[int]) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.ends = ends

    def outputs(self, image: Tensor) -> Iterator[Tensor]:
        """Yield the features (B, channels, H, W) of images (B, 3, H, W), layer by layer."""
        for number, layer in enumerate(self.features):
            image = layer(image)
            if number in self.ends:
                yield image


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 2 * expanded, H, W)."""
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], dim=1)


def vgg16() -> Convolutions:
    """Return VGG16 (Simonyan and Zisserman 2015, arXiv:1409.1556)."""
    layers: list[nn.Module] = []
    inputs = 3
    for channels, count in VGG_STAGES:
        for _ in range(count):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
            inputs = channels
        layers.append(nn.MaxPool2d(2))
    return Convolutions(layers[:-1], (3, 8, 15, 22, 29))


def alexnet() -> Convolutions:
    """Return AlexNet with a single column (Krizhevsky 2014, arXiv:1404.5997)."""
    layers = (
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    )
    return Convolutions(layers, (1, 4, 7, 9, 11))


def squeezenet() -> Convolutions:
    """Return SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360).

    Version 1.1 is the authors' own: a smaller first convolution, and poolings earlier.
    """
    layers = (
        *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), _pooling()),
        *(Fire(64, 16, 64), Fire(128, 16, 64), _pooling()),
        *(Fire(128, 32, 128), Fire(256, 32, 128), _pooling()),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
    )
    return Convolutions(layers, (1, 4, 7, 9, 10, 11, 12))


def _pooling() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)
