"""`vae3d import kind=features`: the public names of each network, whole or refused."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.errors import ConfigError, RunError, UserError
from vae3d.exchange.config import NETWORKS as CHOICES
from vae3d.exchange.config import ImportConfig
from vae3d.exchange.importing import import_weights
from vae3d.features import file as features
from vae3d.features.file import Source, features_of, read_features
from vae3d.features.networks import NETWORKS
from vae3d.verification.folder import verify

State = dict[str, Tensor]
SMALL = "medicalnet_resnet10"
"""The smallest network with norms, 57 MB."""
SMALLEST = "squeezenet1_1"
SOURCE = Source("0" * 64)


def public(name: str) -> State:
    """Random tensors of a network under the names that its authors publish."""
    shapes = NETWORKS[name].shapes
    # One number for each tensor: a network of 500 MB takes no time to write and compare.
    state = {n: torch.full(s, 0.1 + i / 1000) for i, (n, s) in enumerate(shapes.items())}
    if name.startswith("medicalnet"):
        state["conv_seg.0.weight"] = torch.zeros(64, 8, 2, 2, 2)
        state["bn1.num_batches_tracked"] = torch.tensor(3)
        return {f"module.{n}": value for n, value in state.items()}
    if name == "radimagenet_resnet50":
        parts = {"conv1": "0", "bn1": "1", **{f"layer{i}": str(i + 3) for i in range(1, 5)}}
        names = {n: n.partition(".") for n in state}
        return {f"backbone.{parts[a]}.{c}": state[n] for n, (a, _, c) in names.items()}
    if name in ("vgg16", "alexnet", "squeezenet1_1"):
        state["classifier.1.weight"] = torch.zeros(3, 4)
        state["classifier.1.bias"] = torch.zeros(3)
    return state


def lpips(name: str) -> State:
    return {n: torch.rand(s) for n, s in NETWORKS[name].head_shapes.items()}


def test_settings_and_tables_name_the_same_networks() -> None:
    assert tuple(NETWORKS) == CHOICES


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_recognised(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_copied", dict)
    state = public(name)
    found = features_of(state, None, None, SOURCE)
    assert found.name == name
    assert {n: tuple(v.shape) for n, v in found.tensors.items()} == NETWORKS[name].shapes
    given = [v for n, v in state.items() if "class" not in n and "seg" not in n and v.dim()]
    assert all(a is b for a, b in zip(found.tensors.values(), given, strict=True))


PARAMETERS = {
    "vgg16": 14_714_688,
    "alexnet": 2_469_696,
    "squeezenet1_1": 722_496,
    "radimagenet_resnet50": 23_508_032,
    "medicalnet_resnet10": 14_355_520,
    "medicalnet_resnet18": 32_986_176,
    "medicalnet_resnet34": 63_295_808,
    "medicalnet_resnet50": 46_155_072,
}
"""Parameters without running statistics, as torchvision and MONAI count them."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_the_published_one(name: str) -> None:
    shapes = NETWORKS[name].shapes
    kept = [torch.Size(s).numel() for n, s in shapes.items() if "running" not in n]
    assert sum(kept) == PARAMETERS[name]


@pytest.mark.extras
@pytest.mark.parametrize("depth", [10, 18, 34, 50])
def test_medicalnet_is_monais_network(depth: int) -> None:
    resnet = pytest.importorskip("monai.networks.nets.resnet")
    bias, shortcut = resnet.get_medicalnet_pretrained_resnet_args(depth)
    with torch.device("meta"):
        theirs = getattr(resnet, f"resnet{depth}")(
            spatial_dims=3,
            n_input_channels=1,
            feed_forward=False,
            shortcut_type=shortcut,
            bias_downsample=bias,
        )
    expected = {n: tuple(v.shape) for n, v in theirs.state_dict().items() if v.dim()}
    assert NETWORKS[f"medicalnet_resnet{depth}"].shapes == expected


def imported(tmp_path: Path, name: str, state: State | None = None, **settings: Any) -> Path:
    """Import random weights of a network, and return the folder."""
    torch.save({"state_dict": state or public(name)}, tmp_path / "input.pth")
    values = {"input": str(tmp_path / "input.pth"), "output": str(tmp_path / "out"), **settings}
    import_weights(ImportConfig(kind="features", **values))
    return tmp_path / "out"


def test_a_folder_is_the_way_back(tmp_path: Path) -> None:
    heads = lpips(SMALLEST)
    torch.save({**heads, "scaling_layer.shift": torch.zeros(3)}, tmp_path / "lin.pth")
    folder = imported(tmp_path, SMALLEST, heads=str(tmp_path / "lin.pth"), licence="bsd-3-clause")
    found = read_features(folder)
    given = public(SMALLEST)
    assert all(torch.equal(given[n], value) for n, value in found.tensors.items())
    assert all(torch.equal(heads[n], value) for n, value in found.heads.items())
    assert len(found.heads) == 7
    digest = hashlib.sha256((tmp_path / "input.pth").read_bytes()).hexdigest()
    assert found.source.sha256 == digest
    assert found.source.licence == "bsd-3-clause"
    facts = json.loads((folder / "features.json").read_text())
    assert facts["network"] == SMALLEST
    assert facts["layers"][1] == {"name": "fire4", "channels": 128}
    assert facts["input"]["std"] == [0.229, 0.224, 0.225]
    assert verify(folder).kinds == {"feature network": 1}
    assert verify(folder).is_whole


def test_safetensors_and_half_precision(tmp_path: Path) -> None:
    state = {n: v.half() for n, v in public(SMALLEST).items()}
    save_file(state, tmp_path / "in.safetensors")
    values = {"input": str(tmp_path / "in.safetensors"), "output": str(tmp_path / "out")}
    lines = import_weights(ImportConfig(kind="features", **values))
    assert "squeezenet1_1" in lines[0]
    assert "licence not given" in lines[-1]
    assert {v.dtype for v in read_features(tmp_path / "out").tensors.values()} == {torch.float32}


def test_the_same_command_again_and_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = imported(tmp_path, SMALLEST)
    before = (folder / "features.safetensors").stat().st_mtime_ns
    assert "is finished" not in caplog.text
    imported(tmp_path, SMALLEST)
    assert "is finished" in caplog.text
    assert (folder / "features.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="exists and holds something else"):
        imported(tmp_path, SMALLEST, licence="mit")


CHANGES: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop("features.3.squeeze.bias"), "features.3.squeeze.bias is missing"),
    "more": (lambda s: s.update({"features.99.weight": torch.zeros(2)}), "has no features.99"),
    "shape": (lambda s: s.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}), "has shape"),
    "kind": (
        lambda s: s.update({"features.0.bias": torch.zeros(64, dtype=torch.int32)}),
        "holds torch.int32 numbers",
    ),
    "nan": (lambda s: s["features.0.bias"].fill_(torch.nan), "not finite"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_tensors_that_do_not_belong(kind: str, tmp_path: Path) -> None:
    change, said = CHANGES[kind]
    state = public(SMALLEST)
    change(state)
    with pytest.raises(ConfigError, match=said):
        imported(tmp_path, SMALLEST, state)
    assert not (tmp_path / "out").exists()


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is of no known network; known are vgg16"):
        imported(tmp_path, "", {"a.weight": torch.zeros(2)})
    with pytest.raises(ConfigError, match="is not vgg16: features"):
        imported(tmp_path, SMALLEST, network="vgg16")
    torch.save(lpips("vgg16"), tmp_path / "lin.pth")
    with pytest.raises(ConfigError, match="LPIPS has no weights for medicalnet_resnet10"):
        imported(tmp_path, SMALL, heads=str(tmp_path / "lin.pth"))
    with pytest.raises(ConfigError, match="heads: are not those of squeezenet1_1: lin3"):
        imported(tmp_path, SMALLEST, heads=str(tmp_path / "lin.pth"))


def test_a_resnet_of_photographs_is_not_taken_for_radimagenets(tmp_path: Path) -> None:
    shapes = NETWORKS["radimagenet_resnet50"].shapes
    state = {n: torch.zeros(1).expand(s) for n, s in shapes.items()}
    state["fc.weight"] = torch.zeros(10, 2048)
    with pytest.raises(ConfigError, match="torchvision's ResNet50"):
        features_of(state, None, None, SOURCE)
    assert features_of(state, "radimagenet_resnet50", None, SOURCE).network.order == "BGR"


def changed(folder: Path, key: str, value: Any) -> None:
    path = folder / "features.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda f: (f / "features.json").unlink(), "no feature network here"),
    "no tensors": (lambda f: (f / "features.safetensors").unlink(), "cannot be read"),
    "tensors": (lambda f: (f / "features.safetensors").write_bytes(b"x" * 99), "the SHA-256"),
    "version": (lambda f: changed(f, "format_version", 9), "format_version must be 1"),
    "network": (lambda f: changed(f, "network", "os.system"), "is no known network"),
    "other network": (lambda f: changed(f, "network", "vgg16"), "is not vgg16"),
    "layers": (lambda f: changed(f, "layers", []), "layers is not that of squeezenet1_1"),
    "source": (lambda f: changed(f, "source", {}), "sha256 must be 64"),
    "licence": (
        lambda f: changed(f, "source", {"sha256": "0" * 64, "licence": "a\nb"}),
        "licence",
    ),
    "text": (lambda f: (f / "features.json").write_text("{"), "features.json"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_one_line(kind: str, tmp_path: Path) -> None:
    folder = imported(tmp_path, SMALLEST)
    damage, said = DAMAGE[kind]
    damage(folder)
    with pytest.raises(RunError, match=said) as told:
        read_features(folder)
    assert "\n" not in str(told.value)
    with pytest.raises(UserError, match="exists and holds something else"):
        imported(tmp_path, SMALLEST)


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    state = public(SMALLEST)
    state["features.4.squeeze.weight"] = state["features.3.squeeze.weight"].repeat(1, 2, 1, 1)
    state["features.4.squeeze.bias"] = state["features.3.squeeze.bias"]
    folder = imported(tmp_path, SMALLEST, state)
    assert len(load_file(folder / "features.safetensors")) == len(NETWORKS[SMALLEST].shapes)
