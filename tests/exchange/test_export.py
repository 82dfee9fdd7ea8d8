"""`vae3d export`: what is written is the model, and says what it is."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.exchange.conftest import STATISTICS, saved
from tests.exchange.test_to_monai import LEVELS
from vae3d.autoencoder.monai import from_monai
from vae3d.autoencoder.state_dicts import read_state_dict
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.exchange import exporting, programs
from vae3d.exchange.config import ExportConfig
from vae3d.exchange.exporting import export_weights
from vae3d.exchange.programs import (
    FORMATS,
    EncoderGraph,
    check_outputs,
    repeated_end,
    why_no_graph,
    write_graphs,
)
from vae3d.model.config import AttentionSpec, LevelSpec, VAEConfig
from vae3d.model.sizes import pad_to_multiple
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.verification.folder import verify


@pytest.fixture
def no_monai(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if MONAI were not installed, which also takes seconds to import."""
    find = exporting.find_spec
    monkeypatch.setattr(exporting, "find_spec", lambda name: name != "monai" and find(name))


def export(run: Path, to: str, output: Path, **settings: Any) -> dict[str, Any]:
    """Export, and return what `export.json` says."""
    export_weights(ExportConfig(run=str(run), to=to, output=str(output), **settings))
    facts: dict[str, Any] = json.loads((output / "export.json").read_text())
    return facts


@pytest.mark.usefixtures("no_monai")
@pytest.mark.parametrize("tensors", ["safetensors", "pt"])
def test_monais_file_holds_the_model(tensors: str, weights: Path, tmp_path: Path) -> None:
    facts = export(weights, "monai", tmp_path / "out", tensors=tensors)
    ours = CustomVAE.from_pretrained(weights)
    back = from_monai(read_state_dict(tmp_path / f"out/autoencoder.{tensors}"), norm_groups=2)
    for name, value in ours.state_dict().items():
        assert torch.equal(back.state_dict()[name], value)
    assert facts["network"]["class"] == "monai.networks.nets.AutoencoderKL"
    assert facts["latent"]["latents_std"] == STATISTICS.latents_std
    assert facts["latent"]["scaling_factor"] == STATISTICS.scaling_factor
    assert facts["input"]["range"] == [-1, 1]
    assert facts["input"]["spacing_mm"] == [2, 1, 1]
    assert facts["input"]["factor"] == [4, 4, 4]
    digest = hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest()
    assert facts["request"]["digest"] == digest
    assert verify(tmp_path / "out").is_whole
    assert verify(tmp_path / "out").kinds == {"export": 1}


@pytest.mark.usefixtures("no_monai")
def test_the_same_command_again_changes_nothing(
    weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    export(weights, "monai", out)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    caplog.set_level("INFO")
    export(weights, "monai", out)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert "is finished" in caplog.text
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.usefixtures("no_monai")
@pytest.mark.parametrize("change", ["tensors", "weights", "damage", "file", "other"])
def test_an_output_of_something_else_is_refused(
    change: str, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {}
    if change in ("tensors", "weights", "damage"):
        export(weights, "monai", out)
    if change == "tensors":
        settings["tensors"] = "pt"
    elif change == "weights":
        saved(weights, latent_channels=2)
    elif change == "damage":
        (out / "autoencoder.safetensors").write_bytes(b"x")
    elif change == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists and holds something else"):
        export(weights, "monai", out, **settings)


@pytest.mark.usefixtures("no_monai")
def test_a_failed_export_leaves_nothing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "read_state_dict", lambda path: {})
    with pytest.raises(RunError, match="does not hold what was written"):
        export(weights, "monai", tmp_path / "deep/out")
    assert not (tmp_path / "deep/out").exists()
    assert [*(tmp_path / "deep").iterdir()] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"run": None}, "run must name"),
        ({"to": None}, "to must be monai, torch or onnx"),
        ({"output": None}, "output must name"),
        ({"to": "onnx", "tensors": "pt"}, "tensors=pt is for to=monai"),
    ],
)
def test_what_is_missing_is_named(settings: dict[str, Any], said: str, weights: Path) -> None:
    values = {"run": str(weights), "to": "monai", "output": "out", **settings}
    with pytest.raises(ConfigError, match=said):
        export_weights(ExportConfig(**values))


def test_a_missing_package_is_named_with_its_command(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"needs onnx, onnxscript, onnxruntime: pip install 'vae3d"):
        export(weights, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_windows_have_no_graph(tmp_path: Path) -> None:
    levels = [LevelSpec(4), LevelSpec(8, attention="windowed")]
    config = VAEConfig(levels=levels, attention=AttentionSpec("windowed", head_channels=4))
    assert [text.partition("=")[0] for text in why_no_graph(config)] == [
        "model.levels.1.attention",
        "model.attention.bottleneck",
    ]
    with pytest.raises(ConfigError, match=r"to=torch: model.levels.1.attention=windowed"):
        write_graphs(CustomVAE(config), "torch", tmp_path)


@pytest.mark.parametrize("size", [(5, 8, 1), (4, 4, 4), (3, 9, 13)])
def test_padding_in_a_graph_is_the_models(size: tuple[int, ...]) -> None:
    image = torch.randn(2, 1, *size)
    assert torch.equal(repeated_end(image, (4, 1, 3)), pad_to_multiple(image, (4, 1, 3)))


def test_the_encoders_graph_is_the_encoder(weights: Path) -> None:
    model = CustomVAE.from_pretrained(weights)
    image = torch.rand(2, 1, 9, 6, 7)
    with torch.no_grad():
        mean, logvar = EncoderGraph(model)(image)
        posterior = model.encode(image)
    assert torch.equal(mean, posterior.mean)
    assert torch.equal(logvar, posterior.logvar)


def test_an_output_that_differs_ends_the_export(weights: Path) -> None:
    model = CustomVAE.from_pretrained(weights)
    with torch.no_grad():
        assert check_outputs(model, "decoder", lambda x: [model.decode(x)], "x") == 0
        with pytest.raises(RunError, match="differs from the model's by"):
            check_outputs(model, "decoder", lambda x: [model.decode(x) + 0.01], "x")
        with pytest.raises(RunError, match="differs from the model's by nan"):
            check_outputs(model, "decoder", lambda x: [model.decode(x) * torch.nan], "x")
        with pytest.raises(RunError, match="has shape"):
            check_outputs(model, "decoder", lambda x: [model.decode(x)[..., 1:]], "x")


NETWORKS: dict[str, dict[str, Any]] = {
    "pointwise": {
        "levels": [LevelSpec(8), LevelSpec(16, stride=(1, 2, 2))],
        **{"norm": "layer", "upsampling": "transposed", "patch": (2,), "head_norm": False},
    },
    "MONAI's with attention": {
        "levels": [*LEVELS[:2], LevelSpec(8, stride=(2,), attention="global")],
        "attention": AttentionSpec("global", head_channels=4),
    },
    "2D": {
        "spatial_dims": 2,
        "levels": [LevelSpec(8), LevelSpec(8, stride=(2, 3))],
        **{"norm": "rms", "upsampling": "pixel_shuffle", "patch": (2, 1), "unit_range": True},
        **{"final_activation": "tanh", "variance": "fixed", "dropout": 0.1},
    },
}


@pytest.mark.extras
@pytest.mark.parametrize("to", ["torch", "onnx"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_graphs_agree_at_other_sizes(kind: str, to: str, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime")
    model = saved(tmp_path / "weights", **NETWORKS[kind])
    written = write_graphs(model, to, tmp_path)
    assert max(written.values()) < 1e-5
    suffix = FORMATS[to].suffix
    encode, decode = (FORMATS[to].load(tmp_path / f"{p}{suffix}") for p in ("encoder", "decoder"))
    with torch.no_grad():
        for size in ((16, 24, 20), (9, 14, 31), (33, 8, 10)):
            image = torch.rand(1, 1, *size[: model.config.dims]) * 2 - 1
            posterior = model.encode(image)
            mean, logvar = encode(image)
            (decoded,) = decode(mean)
            assert (mean - posterior.mean).abs().max() < 1e-4
            assert (logvar - posterior.logvar).abs().max() < 1e-4
            box = (slice(None), slice(None), *map(slice, image.shape[2:]))
            own = model.decode(posterior.mean, tuple(image.shape[2:]))
            assert (decoded[box] - own).abs().max() < 1e-4


@pytest.mark.extras
@pytest.mark.parametrize("to", ["monai", "torch", "onnx"])
def test_the_readmes_code_runs(to: str, tmp_path: Path) -> None:
    """In the folder, without vae3d, on scans of a size that is no multiple of the factor."""
    for package in {"monai": ["monai"], "onnx": ["onnxruntime"]}.get(to, []):
        pytest.importorskip(package)
    contract = InputContract(IntensityContract("percentiles", 0, 99.5, "a.u."), None)
    saved(tmp_path / "weights", contract, unit_range=True)
    facts = export(tmp_path / "weights", to, tmp_path / "out")
    assert facts["input"]["range"] == ([0, 1] if to == "monai" else [-1, 1])
    code = re.findall(r"```python\n(.*?)```", (tmp_path / "out/README.md").read_text(), re.S)
    assert len(code) == 1
    check = (
        "\nassert reconstruction.shape == scan.shape and 'vae3d' not in __import__('sys').modules"
    )
    command = [sys.executable, "-W", "ignore", "-c", code[0] + check]
    subprocess.run(command, check=True, cwd=tmp_path / "out")


@pytest.mark.extras
def test_an_operator_without_a_graph_is_one_line(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum())

    model = CustomVAE.from_pretrained(weights)
    monkeypatch.setattr(model.encoder, "activation", Stubborn())
    with pytest.raises(UserError, match="to=torch: the encoder cannot be exported") as told:
        write_graphs(model, "torch", tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.extras
def test_large_tensors_are_next_to_the_onnx_file(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(programs, "MAX_ONNX_BYTES", 1000)
    export(weights, "onnx", tmp_path / "out")
    assert (tmp_path / "out/encoder.onnx.data").stat().st_size > 10_000
    assert verify(tmp_path / "out").is_whole
