"""The public networks against slow references, MONAI and torchvision."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.features.conftest import Folder
from tests.features.networks import features, random_heads, random_state, state_of
from vae3d.errors import UserError
from vae3d.features.distance import feature_distance, of_unit_length
from vae3d.features.extractor import FeatureExtractor, Input, Name, standardised
from vae3d.features.networks import NETWORKS
from vae3d.features.opening import open_extractor
from vae3d.loss.perceptual import PerceptualLoss

QUICK = ("vgg16", "alexnet", "squeezenet1_1", "radimagenet_resnet50_keras", "medicalnet_resnet10")
SIDES = {"vgg16": 21, "alexnet": 40, "squeezenet1_1": 37}
"""Odd and even sides, so that strides and poolings meet incomplete windows."""
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def images(name: str, channels: int = 1, seed: int = 0) -> Tensor:
    side = SIDES.get(name, 19)
    size = (side, side + 4, 17)[: NETWORKS[name].spatial_dims]
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, *size, generator=generator, dtype=torch.float64) * 2 - 1


def extractor_of(name: str, compared: tuple[str, ...] = ()) -> FeatureExtractor:
    network = NETWORKS[name]
    module = network.build()
    module.load_state_dict(random_state(name))
    return FeatureExtractor(
        Name(name, name), module, network.spatial_dims, Input.of(network, None),
        network.layers, compared or [layer for layer, _ in network.layers],
    ).double()  # fmt: skip


def network_input(name: str, x: Tensor) -> Tensor:
    """The input that the authors of a network describe, of grey images in [-1, 1]."""
    if name.startswith("medicalnet"):
        axes = (1, 2, 3, 4)
        return (x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True)
    unit = (x + 1) / 2
    if name == "radimagenet_resnet50":
        return ((unit - 0.5) / 0.5).repeat(1, 3, 1, 1)
    mean, std = (torch.tensor(values, dtype=x.dtype) for values in IMAGENET)
    if name.endswith("keras"):
        mean, std = mean.flip(0), torch.ones(3)
    return (unit.repeat(1, 3, 1, 1) - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)


def assert_close(found: Tensor, expected: Tensor, atol: float = 1e-9) -> None:
    """Equal within `atol` of the largest value, in double precision."""
    assert found.dtype == torch.float64
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, atol=atol * scale, rtol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_the_reference(name: str) -> None:
    if name not in QUICK and not name.endswith(("18", "50")):
        pytest.skip("differs from others in its number of blocks alone")
    x = images(name)
    expected = features(name, state_of(name, x.dtype), network_input(name, x))
    found = extractor_of(name)(x)
    assert [f.shape[1] for f in found] == [count for _, count in NETWORKS[name].layers]
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
        assert float(other.std()) > 1e-3


def test_nothing_behind_the_last_compared_layer_is_computed() -> None:
    whole, part = extractor_of("vgg16"), extractor_of("vgg16", ("relu2_2", "relu1_2"))
    calls: list[str] = []
    for number, layer in part.network.features.named_children():  # type: ignore[union-attr]
        layer.register_forward_hook(lambda *_, number=number: calls.append(number))
    x = images("vgg16")
    first, second = part(x)
    assert torch.equal(first, whole(x)[0])
    assert torch.equal(second, whole(x)[1])
    assert calls == [str(n) for n in range(9)]


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "squeezenet1_1"])
def test_the_least_size_is_exact(name: str) -> None:
    extractor = extractor_of(name)
    least = NETWORKS[name].least
    assert extractor.takes((least, least))
    assert all(f.numel() for f in extractor(torch.zeros(1, 1, least, least).double()))
    assert not extractor.takes((least, least - 1))
    with pytest.raises(RuntimeError):
        extractor(torch.zeros(1, 1, least, least - 1).double())


def test_colours_and_other_numbers_of_channels() -> None:
    name = "radimagenet_resnet50_keras"
    colour, extractor = images(name, 3), extractor_of(name, ("relu1",))
    mean = torch.tensor([0.406, 0.456, 0.485], dtype=torch.float64).reshape(3, 1, 1)
    state = state_of(name, torch.float64)
    expected = features(name, state, (colour.flip(1) + 1) / 2 - mean)[0]
    assert_close(extractor(colour)[0], expected)
    # Two contrasts pass one by one; their features are compared as those of one image.
    both = images(name, 2)
    alone = [extractor(both[:, [channel]])[0] for channel in range(2)]
    assert_close(extractor(both)[0], torch.cat(alone, dim=1))
    assert [len(h) for h in extractor.heads(extractor(both))] == [128]


def test_a_volume_of_air_has_no_infinite_gradient() -> None:
    air = torch.full((2, 1, 9, 9, 9), -1.0, dtype=torch.float64, requires_grad=True)
    scan = torch.rand(2, 1, 9, 9, 9, dtype=torch.float64)
    distance = feature_distance(extractor_of("medicalnet_resnet10"), air, scan)
    distance.sum().backward()
    assert air.grad is not None
    assert bool(air.grad.isfinite().all())
    assert float(standardised(torch.rand(2, 1, 9, 9)).std()) == pytest.approx(1, abs=0.01)


def lpips(name: str, x: Tensor, y: Tensor) -> Tensor:
    """LPIPS as its authors compute it, of grey images in [-1, 1]; (B,)."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=x.dtype).reshape(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=x.dtype).reshape(3, 1, 1)
    state, heads = state_of(name, x.dtype), random_heads(name)
    pair = [features(name, state, (image.repeat(1, 3, 1, 1) - shift) / scale) for image in (x, y)]
    total = torch.zeros(len(x), dtype=x.dtype)
    for number, (one, other) in enumerate(zip(*pair, strict=True)):
        units = [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in (one, other)]
        weighted = (units[0] - units[1]).square() * heads[f"lin{number}.model.1.weight"]
        total += weighted.sum(1).mean((1, 2))
    return total


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "squeezenet1_1"])
def test_distance_is_lpips(name: str, features_folder: Folder) -> None:
    extractor = open_extractor(str(features_folder(name, heads=True))).double()
    assert extractor.compared == tuple(layer for layer, _ in NETWORKS[name].layers)
    x, y = images(name), images(name, seed=1)
    assert_close(feature_distance(extractor, x, y), lpips(name, x, y), atol=1e-6)
    assert feature_distance(extractor, x, x).abs().max() == 0


def test_without_heads_all_weights_are_one(features_folder: Folder) -> None:
    folder = str(features_folder("squeezenet1_1"))
    extractor = open_extractor(folder, ["relu1", "fire7"]).double()
    x, y = images("squeezenet1_1"), images("squeezenet1_1", seed=1)
    pairs = zip(extractor(x), extractor(y), strict=True)
    squares = [(of_unit_length(a) - of_unit_length(b)).square() for a, b in pairs]
    expected = sum(square.sum(1).mean((1, 2)) for square in squares)
    assert isinstance(expected, Tensor)
    assert_close(feature_distance(extractor, x, y), expected)


class Reference(torch.nn.Module):
    """The last features of a network, as the modules that MONAI downloads return them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.state = name, random_state(name)

    def forward(self, x: Tensor) -> Tensor:
        return features(self.name, self.state, x)[-1]


class ReferenceLPIPS(torch.nn.Module):
    """LPIPS of images, as the package that MONAI imports."""

    def __init__(self, pretrained: bool, net: str, verbose: bool) -> None:
        super().__init__()
        self.name = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}[net]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return lpips(self.name, x, y)


@pytest.mark.extras
@pytest.mark.parametrize(
    ("theirs", "name", "fake"),
    [
        ("squeeze", "squeezenet1_1", True),
        ("alex", "alexnet", True),
        ("radimagenet_resnet50", "radimagenet_resnet50_keras", True),
        ("medicalnet_resnet10_23datasets", "medicalnet_resnet10", False),
        ("medicalnet_resnet50_23datasets", "medicalnet_resnet50", False),
    ],
)
def test_monais_perceptual_loss(
    theirs: str, name: str, fake: bool, features_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    perceptual = pytest.importorskip("monai.losses.perceptual")
    monkeypatch.setattr(torch.hub, "load", lambda *_, **__: Reference(name))
    monkeypatch.setattr(perceptual, "LPIPS", ReferenceLPIPS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = perceptual.PerceptualLoss(3, theirs, is_fake_3d=fake, fake_3d_ratio=1.0)
    generator = torch.Generator().manual_seed(0)
    side = 33 if fake else 19
    x, y = (torch.rand(1, 1, 33, side, side, generator=generator) * 2 - 1 for _ in range(2))
    # MONAI wants images in [0, 1] for RadImageNet and in [-1, 1] for LPIPS.
    given = [(v + 1) / 2 for v in (x, y)] if "radimagenet" in theirs else [x, y]
    expected = float(loss(*given))
    folder = features_folder(name, heads=NETWORKS[name].heads)
    own = PerceptualLoss(open_extractor(str(folder)))
    assert float(own(x, y, [0])) == pytest.approx(expected, abs=1e-5, rel=1e-5)
    assert expected > 1e-3


@pytest.mark.extras
@pytest.mark.parametrize("name", ["vgg16", "alexnet", "squeezenet1_1", "radimagenet_resnet50"])
def test_torchvision_computes_the_same(name: str) -> None:
    try:
        models: Any = importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError) as error:  # a RuntimeError if it is built for another torch
        pytest.skip(f"torchvision: {error}")
    theirs = models.resnet50() if "resnet" in name else getattr(models, name)()
    theirs.load_state_dict(random_state(name), strict=False)
    theirs = theirs.double().eval()
    x = images(name)
    given, found = network_input(name, x), extractor_of(name)(x)[-1]
    with torch.no_grad():
        if "resnet" in name:
            for layer in (
                *["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"],
            ):
                given = getattr(theirs, layer)(given)
        else:
            ends = {"vgg16": 30, "alexnet": 12, "squeezenet1_1": 13}
            given = theirs.features[: ends[name]](given)
    assert_close(found, given)


def test_features_of_other_kinds_are_one_line(tmp_path: Path, features_folder: Folder) -> None:
    (tmp_path / "vgg16.pth").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    medical = str(features_folder("medicalnet_resnet10"))
    cases = (
        ((str(tmp_path / "vgg16.pth"),), "is a file, not a folder; vae3d import kind=features"),
        ((str(tmp_path / "none"),), "no such folder; name one of vae3d import"),
        ((str(tmp_path / "empty"),), "empty"),
        ((medical, ["layer9"]), "has no layer 'layer9'; choose from relu1, layer1"),
        ((medical, [], (0.0, 1.0)), "takes each volume at mean 0 and deviation 1; drop range"),
    )
    for arguments, said in cases:
        with pytest.raises(UserError, match=said) as told:
            open_extractor(*arguments)
        assert "\n" not in str(told.value)
