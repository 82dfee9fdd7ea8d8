"""`vae3d import kind=monai`: what a file holds becomes weights, or is refused by name."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.conftest import vae3d
from tests.exchange.conftest import saved
from tests.exchange.test_to_monai import LEVELS, model_of
from tests.model.test_monai import build
from vae3d.autoencoder.monai import from_monai
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError, UserError
from vae3d.exchange.config import ExportConfig, ImportConfig
from vae3d.exchange.exporting import export_weights
from vae3d.exchange.importing import import_weights
from vae3d.exchange.to_monai import to_monai
from vae3d.model.config import AttentionSpec, LevelSpec, VAEConfig
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract
from vae3d.verification.folder import verify

State = dict[str, Tensor]
WINDOW = [-1000, 400]


def run_import(path: Path, **settings: Any) -> CustomVAE:
    """Import a file next to it as `out`, and return what that holds."""
    values = {"window": WINDOW, "norm_groups": 2, **settings}
    out = path.parent / "out"
    import_weights(ImportConfig(kind="monai", input=str(path), output=str(out), **values))
    return CustomVAE.from_pretrained(out)


def file_of(tmp_path: Path, state: State, name: str = "a.pt") -> Path:
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file({n: v.contiguous() for n, v in state.items()}, path)
    else:
        torch.save({"epoch": 3, "autoencoder": state}, path)
    return path


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_a_file_becomes_weights(name: str, tmp_path: Path) -> None:
    ours = model_of({})
    path = file_of(tmp_path, to_monai(ours).state, name)
    back = run_import(path, licence="apache-2.0", spacing=[2, 1, 1])
    assert all(map(torch.equal, back.state_dict().values(), ours.state_dict().values()))
    contract = InputContract(IntensityContract("window", -1000, 400, "HU"), (2.0, 1.0, 1.0))
    assert back.contract == contract
    assert back.origin is not None
    assert back.origin.by == "vae3d import"
    (source,) = back.origin.started_from
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.licence == "apache-2.0"
    assert verify(tmp_path / "out").is_whole
    assert verify(tmp_path / "out").kinds == {"weight folder": 1}


def test_percentiles_and_half_precision(tmp_path: Path) -> None:
    state = {n: v.half() for n, v in to_monai(model_of({})).state.items()}
    back = run_import(file_of(tmp_path, state), window=None, percentiles=[0, 99.5])
    assert back.contract.intensity == IntensityContract("percentiles", 0, 99.5, "a.u.")
    assert {v.dtype for v in back.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("prefix", ["module.", "model.autoencoder.", "net._orig_mod."])
def test_a_prefix_of_all_names_is_removed(prefix: str, tmp_path: Path) -> None:
    ours = model_of({})
    state = {f"{prefix}{n}": v for n, v in to_monai(ours).state.items()}
    back = run_import(file_of(tmp_path, {**state, "discriminator.weight": torch.zeros(3)}))
    assert all(map(torch.equal, back.state_dict().values(), ours.state_dict().values()))


def test_other_tensors_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = {**to_monai(model_of({})).state, "discriminator.weight": torch.zeros(3)}
    run_import(file_of(tmp_path, state))
    assert "1 tensors are no part of the network and are left out" in caplog.text
    assert "discriminator.weight" in caplog.text


def older(state: State) -> State:
    """The names of MONAI Generative Models, from which MONAI's network comes."""
    names = {".attn.out_proj.": ".proj_attn.", ".attn.to_": ".to_", ".postconv.": ".conv."}
    renamed: State = {}
    for name, value in state.items():
        for new, old in names.items():
            name = name.replace(new, old)
        renamed[name] = value
    return renamed


def attended() -> CustomVAE:
    levels = [*LEVELS[:2], replace(LEVELS[2], attention="global")]
    return model_of({"levels": levels, "attention": AttentionSpec("global", head_channels=None)})


def test_names_of_monai_generative_models() -> None:
    ours = attended()
    back = from_monai(older(to_monai(ours).state), norm_groups=2)
    assert all(map(torch.equal, back.state_dict().values(), ours.state_dict().values()))


@pytest.mark.extras
@pytest.mark.parametrize(
    "options",
    [{"use_convtranspose": True}, {"include_fc": False}, {"use_combined_linear": True}],
    ids=str,
)
def test_options_of_monais_constructor(options: dict[str, Any]) -> None:
    theirs = build("both", 3, **options)
    ours = from_monai(theirs.state_dict(), norm_groups=4)
    image = torch.randn(1, 1, 8, 16, 8)
    with torch.no_grad():
        expected = theirs.reconstruct(image)
        torch.testing.assert_close(ours(image).reconstruction, expected, atol=1e-5, rtol=1e-5)


def test_a_vqvae_is_told_where_to_go(tmp_path: Path) -> None:
    state = {"encoder.blocks.0.conv.weight": torch.zeros(2), "quantizer.quantizer.ema_w": 1.0}
    state["quantizer.quantizer.embedding.weight"] = torch.zeros(4, 2)
    path = tmp_path / "vq.pt"
    torch.save(state, path)
    with pytest.raises(ConfigError, match="vae3d eval autoencoder=monai") as told:
        run_import(path)
    assert "\n" not in str(told.value)


CHANGES: dict[str, tuple[Callable[[State], object], str]] = {
    "missing": (lambda s: s.pop("decoder.blocks.0.conv.weight"), "not the weights of MONAI's"),
    "integers": (
        lambda s: s.update({"post_quant_conv.conv.bias": torch.zeros(3, dtype=torch.int8)}),
        "holds torch.int8 numbers",
    ),
    "nan": (lambda s: s["post_quant_conv.conv.bias"].fill_(torch.nan), "not finite"),
    "shape": (
        lambda s: s.update({"decoder.blocks.0.conv.weight": torch.zeros(8, 3, 1, 1, 1)}),
        "size mismatch",
    ),
    "number": (lambda s: s.update({f"encoder.blocks.{'9' * 5000}.x": torch.zeros(2)}), "left out"),
    "a hole": (lambda s: s.update({"encoder.blocks.99.x.weight": torch.zeros(2)}), "not the"),
    "a wide level": (
        lambda s: s.update({"encoder.blocks.1.conv2.conv.weight": torch.zeros(4096, 0, 3, 3, 3)}),
        "not the weights of MONAI's",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_weights_of_another_network_are_one_line(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change, said = CHANGES[kind]
    state = dict(to_monai(model_of({})).state)
    change(state)
    path = file_of(tmp_path, state)
    if said == "left out":
        run_import(path)
        assert said in caplog.text
        return
    with pytest.raises(UserError, match=said) as told:
        run_import(path)
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": None}, "kind must be monai or features"),
        ({"input": None}, "input must name"),
        ({"output": None}, "output must name"),
        ({"window": None}, "give one of window"),
        ({"percentiles": [0, 100]}, "give one of window"),
        ({"network": "vgg16"}, "network is for kind=features, not for kind=monai"),
        ({"kind": "features"}, "window is for kind=monai, not for kind=features"),
        ({"licence": "see the file"}, "licence must be one word"),
        ({"input": "nowhere.pt"}, "nowhere.pt: cannot be read"),
        ({"norm_groups": 3}, "must be a multiple of model.norm_groups"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, to_monai(model_of({})).state)
    values = {"kind": "monai", "input": str(path), "output": "out", "window": WINDOW, **settings}
    with pytest.raises(UserError, match=said) as told:
        import_weights(ImportConfig(**{"norm_groups": 2, **values}))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


def test_the_same_command_again_and_another_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path = file_of(tmp_path, to_monai(model_of({})).state)
    run_import(path)
    before = (tmp_path / "out/model.safetensors").stat().st_mtime_ns
    run_import(path)
    assert "is finished" in caplog.text
    assert (tmp_path / "out/model.safetensors").stat().st_mtime_ns == before
    for other in ({"window": [-1000, 1000]}, {"unit_range": True}, {"licence": "mit"}):
        with pytest.raises(ConfigError, match="exists and holds something else"):
            run_import(path, **other)
    torch.save(to_monai(model_of({"latent_channels": 1})).state, path)
    with pytest.raises(ConfigError, match="exists and holds something else"):
        run_import(path)


def test_a_run_is_not_overwritten(tmp_path: Path) -> None:
    path = file_of(tmp_path, to_monai(model_of({})).state)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("name: run\n")
    with pytest.raises(ConfigError, match="exists and holds something else"):
        run_import(path)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["config.yaml"]


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    path = file_of(tmp_path, to_monai(model_of({})).state)
    left = tmp_path / ".tmp-123-0123abcd-out"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    run_import(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "out"]


def test_an_empty_folder_may_be_written_to(tmp_path: Path) -> None:
    path = file_of(tmp_path, to_monai(model_of({})).state)
    (tmp_path / "out").mkdir()
    assert run_import(path).config.latent_channels == 3


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export, import and export again: the same tensors, and the licence stays known."""
    saved(tmp_path / "weights")
    vae3d("export", "run=weights", "to=monai", "tensors=pt", "output=first", cwd=tmp_path)
    done = vae3d(
        *("import", "kind=monai", "input=first/autoencoder.pt", "output=back"),
        *("window=[-1000,400]", "spacing=[2,1,1]", "norm_groups=2", "licence=mit"),
        cwd=tmp_path,
    )
    assert "licence     mit" in done.stdout
    export_weights(ExportConfig("back", to="monai", output="second", tensors="pt"))
    first, second = (
        torch.load(f"{p}/autoencoder.pt", weights_only=True) for p in ("first", "second")
    )
    assert all(torch.equal(second[name], value) for name, value in first.items())
    assert '"licence": "mit"' in Path("second/export.json").read_text()


@pytest.mark.parametrize("name", [".", "/", ".."])
def test_an_output_has_a_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_of(tmp_path, to_monai(model_of({})).state)
    monkeypatch.chdir(tmp_path)
    config = ImportConfig(kind="monai", input=str(path), output=name, window=WINDOW, norm_groups=2)
    with pytest.raises(ConfigError, match="must have a name of its own"):
        import_weights(config)
    assert [*tmp_path.iterdir()] == [path]


def test_own_weights_need_no_import(weights: Path, tmp_path: Path) -> None:
    config = ImportConfig(
        kind="monai", input=str(weights / "model.safetensors"), output=str(tmp_path / "x"),
        window=WINDOW,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="own weights already; use them as run="):
        import_weights(config)
    assert not (tmp_path / "x").exists()


def test_blocks_of_another_network_are_named_in_words(tmp_path: Path) -> None:
    other = CustomVAE(VAEConfig(spatial_dims=3, levels=[LevelSpec(8, 1), LevelSpec(8, 1, (2,))]))
    path = file_of(tmp_path, other.state_dict())
    with pytest.raises(ConfigError, match=r"AutoencoderKL: it has other blocks$"):
        run_import(path)
