"""Feature networks written out by the names of their tensors: slow references, and weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vae3d.features.networks import NETWORKS

State = dict[str, Tensor]
CONVOLUTION = {4: F.conv2d, 5: F.conv3d}
POOLING = {4: F.max_pool2d, 5: F.max_pool3d}
BLOCKS = {"10": (1, 1, 1, 1), "18": (2, 2, 2, 2), "34": (3, 4, 6, 3), "50": (3, 4, 6, 3)}


def random_state(name: str, seed: int = 0) -> State:
    """Weights of a network under which its features neither vanish nor grow."""
    generator = torch.Generator().manual_seed(seed)

    def value(tensor: str, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            # Without a mean over channels, which are positive: else all images look alike.
            mean = drawn.mean(dim=1, keepdim=True) if shape[1] > 3 else 0.0
            return (drawn - mean) * math.sqrt(2 / math.prod(shape[1:]))
        return 1 + 0.1 * drawn.abs() if tensor.endswith(("weight", "var")) else 0.1 * drawn

    return {n: value(n, shape) for n, shape in NETWORKS[name].shapes.items()}


def state_of(name: str, dtype: torch.dtype) -> State:
    """The same weights in a precision, in which sums of other orders are equal enough."""
    return {n: value.to(dtype) for n, value in random_state(name).items()}


def random_heads(name: str) -> State:
    """Weights of LPIPS, which are positive."""
    generator = torch.Generator().manual_seed(1)
    shapes = NETWORKS[name].head_shapes
    return {n: torch.rand(shape, generator=generator) for n, shape in shapes.items()}


def features(name: str, state: State, x: Tensor) -> list[Tensor]:
    """The features of a network's input, layer by layer."""
    if name == "vgg16":
        return _vgg(state, x)
    if name == "alexnet":
        return _alexnet(state, x)
    if name == "squeezenet1_1":
        return _squeezenet(state, x)
    return _resnet(name, state, x)


def _conv(
    state: State, name: str, x: Tensor, stride: int = 1, pad: int = 0, gap: int = 1
) -> Tensor:
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    return CONVOLUTION[x.dim()](x, weight, bias, stride, pad, gap)


def _vgg(state: State, x: Tensor) -> list[Tensor]:
    found = []
    for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        x = F.max_pool2d(x, 2) if found else x
        for number in stage:
            x = F.relu(_conv(state, f"features.{number}", x, pad=1))
        found.append(x)
    return found


def _alexnet(state: State, x: Tensor) -> list[Tensor]:
    one = F.relu(_conv(state, "features.0", x, stride=4, pad=2))
    two = F.relu(_conv(state, "features.3", F.max_pool2d(one, 3, 2), pad=2))
    three = F.relu(_conv(state, "features.6", F.max_pool2d(two, 3, 2), pad=1))
    four = F.relu(_conv(state, "features.8", three, pad=1))
    return [one, two, three, four, F.relu(_conv(state, "features.10", four, pad=1))]


def _squeezenet(state: State, x: Tensor) -> list[Tensor]:
    x = F.relu(_conv(state, "features.0", x, stride=2))
    found = [x]
    for number in (3, 4, 6, 7, 9, 10, 11, 12):
        if number in (3, 6, 9):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        name = f"features.{number}"
        x = F.relu(_conv(state, f"{name}.squeeze", x))
        sides = _conv(state, f"{name}.expand1x1", x), _conv(state, f"{name}.expand3x3", x, pad=1)
        x = F.relu(torch.cat(sides, dim=1))
        if number not in (3, 6):
            found.append(x)
    return found


def _resnet(name: str, state: State, x: Tensor) -> list[Tensor]:
    keras, medical = name.endswith("keras"), name.startswith("medicalnet")
    depth = "50" if "50" in name else name[-2:]
    eps = 1.001e-5 if keras else 1e-5

    def norm(of: str, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (
            state[f"{of}.{kind}"].reshape(-1, *(1,) * (x.dim() - 2))
            for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + eps).sqrt() * weight + bias

    x = F.relu(norm("bn1", _conv(state, "conv1", x, stride=2, pad=3)))
    found = [x]
    x = POOLING[x.dim()](x, 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS[depth], start=1):
        gap = {3: 2, 4: 4}.get(stage, 1) if medical else 1
        for block in range(blocks):
            of = f"layer{stage}.{block}"
            stride = 2 if block == 0 and stage > 1 and gap == 1 else 1
            skipped = x
            if f"{of}.downsample.0.weight" in state:
                skipped = norm(
                    f"{of}.downsample.1", _conv(state, f"{of}.downsample.0", x, stride=stride)
                )
            elif block == 0 and stage > 1:
                skipped = F.avg_pool3d(x, 1, stride)
                skipped = torch.cat([skipped, torch.zeros_like(skipped)], dim=1)
            if depth == "50":
                first, second = (stride, 1) if keras else (1, stride)
                y = F.relu(norm(f"{of}.bn1", _conv(state, f"{of}.conv1", x, stride=first)))
                y = _conv(state, f"{of}.conv2", y, stride=second, pad=gap, gap=gap)
                y = norm(f"{of}.bn3", _conv(state, f"{of}.conv3", F.relu(norm(f"{of}.bn2", y))))
            else:
                y = _conv(state, f"{of}.conv1", x, stride=stride, pad=gap, gap=gap)
                y = F.relu(norm(f"{of}.bn1", y))
                y = norm(f"{of}.bn2", _conv(state, f"{of}.conv2", y, pad=gap, gap=gap))
            x = F.relu(y + skipped)
        found.append(x)
    return found
