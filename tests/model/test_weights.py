"""A folder of weights: its description is read back, is of these weights, and is anonymous."""

import copy
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import vae3d.commands.train_run as training
from tests.conftest import tiny_model, tiny_trainer, tiny_training
from vae3d.autoencoder.card import model_card
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.train_run import train
from vae3d.data.build import open_cases
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, RunError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.latents.health import LatentHealth
from vae3d.logger.console import ProgressBar
from vae3d.patching.samplers import WholeVolume
from vae3d.run.config import TrainConfig
from vae3d.runtime.run_folder import RunFolder
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics
from vae3d.version import __version__

STATISTICS = LatentStatistics(2.0, -0.25, [0.5, 0.0, -1.0, 1e-3], [1.0, 0.0, 0.25, 3.0], 3)
DESCRIBED: dict[str, dict[str, Any]] = {
    "CT": {"intensity": {"kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU"},
           "spacing": [2.5, 1.0, 1.0], "channel": None, "resampling": "linear", "reader": 1},
    "MR": {"intensity": {"kind": "percentiles", "low": 0, "high": 99.5, "unit": "intensity"},
           "spacing": None, "channel": 2, "resampling": "linear", "reader": 1},
    "nothing": {},
}  # fmt: skip
CONTRACTS = {name: InputContract.from_json(values) for name, values in DESCRIBED.items()}


def saved(folder: Path, contract: InputContract | None = None, **changes: Any) -> Path:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(**changes))
    model.contract, model.statistics = contract or InputContract(), STATISTICS
    model.save_pretrained(folder)
    return folder


def described(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return description


def code_of(folder: Path) -> str:
    """Return the code of the card with the folder's path filled in."""
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    return str(code).replace('"FOLDER"', repr(str(folder)))


@pytest.mark.parametrize("statistics", [STATISTICS, replace(STATISTICS, cases=None), None])
def test_what_is_saved_comes_back(tmp_path: Path, statistics: LatentStatistics | None) -> None:
    model = CustomVAE(tiny_model())
    model.contract, model.statistics = CONTRACTS["CT"], statistics
    model.save_pretrained(tmp_path / "w")
    again = CustomVAE.from_pretrained(tmp_path / "w")
    assert again.statistics == statistics
    assert again.contract == CONTRACTS["CT"]
    assert described(tmp_path / "w")["contracts"] == [{"set": None, **DESCRIBED["CT"]}]
    assert ("latents" in described(tmp_path / "w")) == (statistics is not None)
    again.save_pretrained(tmp_path / "again")
    names = {"README.md", "checksums.json", "config.json", "model.safetensors"}
    assert {path.name for path in (tmp_path / "again").iterdir()} == names
    for name in names:
        assert (tmp_path / "w" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("text", "latents must be a table"),
        ([1.0], "latents must be a table"),
        ({"scaling_factor": "1"}, "latents.scaling_factor must be a number"),
        ({"scaling_factor": 0}, "scaling_factor must be above 0"),
        ({"scaling_factor": -1}, "no deviation below 0"),
        ({"shift_factor": None}, "latents.shift_factor must be a number"),
        ({"latents_mean": 0.0}, "latents.latents_mean must be a list"),
        ({"latents_mean": [[0.0]] * 4}, "latents.latents_mean.0 must be a number"),
        ({"latents_mean": [0.0] * 3}, "one number a channel"),
        ({"latents_mean": [], "latents_std": []}, "one number a channel"),
        ({"latents_mean": [0.0] * 2, "latents_std": [1.0] * 2}, "of 4 channels, got 2"),
        ({"latents_std": [1.0, 1.0, 1.0, -1.0]}, "no deviation below 0"),
        ({"latents_std": [10**400] * 4}, "must be a number, got a huge number"),
        ({"cases": 0}, "cases must be at least 1"),
        ({"cases": True}, "latents.cases must be a whole number"),
        ({"import_me": "os.system"}, "unknown key 'latents.import_me'"),
    ],
)
def test_damaged_statistics_are_refused_on_one_line(
    tmp_path: Path, change: Any, message: str
) -> None:
    folder = saved(tmp_path / "w")
    values = described(folder)
    values["latents"] = {**values["latents"], **change} if isinstance(change, dict) else change
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=re.escape(message)) as refused:
        CustomVAE.from_pretrained(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("name", ["scaling_factor", "shift_factor", "latents_mean", "latents_std"])
def test_a_statistic_that_is_missing_or_infinite_is_refused(tmp_path: Path, name: str) -> None:
    folder = saved(tmp_path / "w")
    values = described(folder)
    whole = json.dumps(values)
    del values["latents"][name]
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match=name):
        CustomVAE.from_pretrained(folder)
    number = "[1e999, 1, 1, 1]" if name.startswith("latents") else "1e999"
    values["latents"][name] = "HERE"
    (folder / "config.json").write_text(json.dumps(values).replace('"HERE"', number))
    with pytest.raises(RunError, match="must be finite"):
        CustomVAE.from_pretrained(folder)
    (folder / "config.json").write_text(whole)
    assert CustomVAE.from_pretrained(folder).statistics == STATISTICS


def test_statistics_of_latents_without_numbers_are_none() -> None:
    summary = {"scaling_factor": 1.0, "shift_factor": 0.0, "latents_mean": [0.0]}
    assert LatentStatistics.of({**summary, "latents_std": [1.0]}, 2) is not None
    assert LatentStatistics.of({**summary, "latents_std": [None]}, 2) is None
    assert LatentStatistics.of({**summary, "latents_std": [float("inf")]}, 2) is None
    assert (
        LatentStatistics.of({**summary, "scaling_factor": None, "latents_std": [1.0]}, 2) is None
    )
    assert LatentStatistics.of(LatentHealth().summary(), 0) is None
    assert LatentStatistics.of({}, 0) is None
    with pytest.raises(ConfigError, match="finite"):
        LatentStatistics(1.0, float("nan"), [0.0], [1.0])


@pytest.mark.parametrize("statistics", [STATISTICS, None])
@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("kind", CONTRACTS)
def test_the_code_of_the_card_runs(
    tmp_path: Path, kind: str, spatial_dims: int, statistics: LatentStatistics | None
) -> None:
    model = CustomVAE(tiny_model(spatial_dims))
    model.contract, model.statistics = CONTRACTS[kind], statistics
    model.save_pretrained(tmp_path / "w")
    names: dict[str, Any] = {}
    exec(code_of(tmp_path / "w"), names)
    image, reconstruction = names["image"], names["reconstruction"]
    assert reconstruction.shape == image.shape == (1, 1, *[64] * spatial_dims)
    assert image.abs().max() <= 1
    assert names["latent"].shape[1] == 4
    again = CustomVAE.from_pretrained(tmp_path / "w")
    with torch.no_grad():
        expected = again(image).reconstruction.clamp(-1, 1)
    if kind in ("CT", "MR"):
        low, high = names["low"], names["high"]
        assert low < high
        expected = (expected + 1) * (high - low) / 2 + low
    torch.testing.assert_close(reconstruction, expected)
    assert ("normal" in names) == (statistics is not None)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_the_card_lists_what_is_known(tmp_path: Path, kind: str) -> None:
    text = (saved(tmp_path / "w", CONTRACTS[kind]) / "README.md").read_text()
    _, front, rest = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "vae3d",
        "tags": ["vae", "medical-imaging", "3d"],
    }
    parameters = sum(p.numel() for p in CustomVAE(tiny_model()).parameters())
    for line in (
        f"Parameters: {parameters:,}",
        "2 x 2 x 2 voxels",
        "4 channels",
        "2 numbers of the image for one of the latent",
        "shift_factor -0.25, scaling_factor 2, from 3 validation cases of the training: the ones",
    ):
        assert line in rest
    assert ("-1000 to 1000 HU" in rest) == (kind == "CT")
    assert ("2.5 x 1 x 1 mm along (D, H, W)" in rest) == (kind == "CT")
    assert ("percentiles 0 to 99.5" in rest) == (kind == "MR")


def test_parameters_are_counted_without_buffers(tmp_path: Path) -> None:
    folder = saved(tmp_path / "w", norm="batch")
    parameters = sum(p.numel() for p in CustomVAE(tiny_model(norm="batch")).parameters())
    assert f"Parameters: {parameters:,}\n" in (folder / "README.md").read_text()


def test_the_card_is_the_same_anywhere_and_contains_nothing_else(tmp_path: Path) -> None:
    first, second = saved(tmp_path / "a", CONTRACTS["CT"]), saved(tmp_path / "b", CONTRACTS["CT"])
    assert (first / "README.md").read_bytes() == (second / "README.md").read_bytes()
    text = (first / "README.md").read_text()
    assert str(tmp_path) not in text
    assert not re.search(r"\b20\d\d\b|/home|/tmp", text)
    strange = copy.deepcopy(DESCRIBED["CT"])
    strange["CANARY"] = {"CANARY": ["CANARY"]}
    strange["intensity"]["unit"] = "CANARY\n```\nimport os"
    odd = InputContract.from_json(strange)
    text = (saved(tmp_path / "c", odd) / "README.md").read_text()
    assert "CANARY" not in text
    assert "import os" not in text
    strange["intensity"]["unit"] = "{CANARY}"
    odd = InputContract.from_json(strange)
    assert model_card(tiny_model(), odd, None, 1).count("{") == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (1, "contract must be a table"),
        ({"intensity": {"kind": "window", "low": 3, "high": "4", "unit": "HU"}}, "high must be"),
        ({"intensity": {"kind": "window", "low": 3, "high": 4}}, "unit"),
        ({"intensity": {"kind": "window", "low": 4, "high": 3, "unit": "HU"}}, "low < high"),
        ({"intensity": "HU"}, "intensity must be a table"),
        ({"spacing": [[1], 2, 3]}, "spacing.0 must be a number"),
        ({"spacing": [1, 2]}, "three numbers above 0"),
        ({"spacing": [1, 2, -1]}, "three numbers above 0"),
    ],
)
def test_a_damaged_contract_is_refused_on_one_line(
    tmp_path: Path, values: object, reason: str
) -> None:
    folder = saved(tmp_path / "w")
    for changed in ({"contracts": [values]}, {"format_version": 1, "contract": values}):
        (folder / "config.json").write_text(json.dumps({**described(folder), **changed}))
        with pytest.raises(RunError, match=reason) as refused:
            CustomVAE.from_pretrained(folder)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"format_version": 3}, "format_version must be 1 or 2, got 3; a newer vae3d"),
        ({"format_version": True}, "format_version must be 1 or 2, got True"),
        ({"contracts": [{}, {}]}, "contracts must be one, got 2: weights of several sets"),
        ({"contracts": None}, "contracts must be a list"),
        ({"contracts": [{"channel": "1"}]}, "channel must be a whole number"),
        ({"quantizer": {"codes": 512}}, "quantizer is not supported by this version"),
        ({"origin": {"by": 1}}, r"origin\.by must be text"),
        ({"origin": {"by": "x" * 300}}, "at most 200 characters"),
        ({"split_rule": {"kind": "hash"}}, "split_rule: "),
        ({"digest": 1}, "digest must be text"),
        ({"plugins": "os"}, "plugins must be a list"),
    ],
)
def test_a_damaged_description_is_refused_on_one_line(
    tmp_path: Path, changed: dict[str, Any], reason: str
) -> None:
    folder = saved(tmp_path / "w")
    (folder / "config.json").write_text(json.dumps({**described(folder), **changed}))
    with pytest.raises(RunError, match=reason) as refused:
        CustomVAE.from_pretrained(folder)
    assert "\n" not in str(refused.value)


def test_every_flipped_bit_of_the_tensors_is_noticed(tmp_path: Path) -> None:
    folder = saved(tmp_path / "w")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    assert described(folder)["digest"] == hashlib.sha256(whole).hexdigest()
    for place in range(16, len(whole), len(whole) // 16):
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        with pytest.raises(RunError) as refused:
            CustomVAE.from_pretrained(folder)
        assert "\n" not in str(refused.value)
    with pytest.raises(RunError, match=r"SHA-256 that config\.json names: it is damaged, or of"):
        CustomVAE.from_pretrained(folder)
    # Changed on purpose.
    values = {**described(folder), "digest": None}
    (folder / "config.json").write_text(json.dumps(values))
    CustomVAE.from_pretrained(folder)


def test_weights_of_format_1_open_and_are_saved_as_format_2(tmp_path: Path) -> None:
    folder = saved(tmp_path / "w", CONTRACTS["CT"])
    values = described(folder)
    old = {key: values[key] for key in ("architecture", "latents")}
    contract = {k: v for k, v in DESCRIBED["CT"].items() if k != "channel"}
    first = {"format_version": 1, **old, "contract": contract}
    (folder / "config.json").write_text(json.dumps(first))
    model = CustomVAE.from_pretrained(folder)
    assert model.contract == CONTRACTS["CT"]
    assert (model.statistics, model.origin, model.split_rule) == (STATISTICS, None, None)
    model.save_pretrained(tmp_path / "again")
    assert described(tmp_path / "again") == values


def test_weights_record_their_origin_and_their_splits(tmp_path: Path) -> None:
    data = SyntheticConfig(shape=(16, 16, 16), count=6, val_fraction=0.5, fold="0/3")
    changes = {**WHOLE, "data": data, "trainer": tiny_trainer(steps=2)}
    folder = RunFolder(train(tiny_training(tmp_path, **changes))).weights("latest")
    values = described(folder)
    assert values["format_version"] == 2
    assert values["origin"] == {"by": "vae3d train", "version": __version__, "step": 2}
    assert values["split_rule"] == {
        "kind": "count", "val_fraction": 0.5, "test_fraction": 0.1, "fold": "0/3",
    }  # fmt: skip
    assert (values["plugins"], values["quantizer"]) == ([], None)
    [contract] = values["contracts"]
    assert (contract["set"], contract["channel"]) == (None, None)
    again = CustomVAE.from_pretrained(folder)
    again.save_pretrained(tmp_path / "again")
    assert described(tmp_path / "again") == values


WHOLE = {
    "data": SyntheticConfig(shape=(16, 16, 16), count=6, val_fraction=0.5),
    "patching": WholeVolume(),
    "evaluation": EvaluationConfig(media=[], precision="fp32"),
}


def measured(config: TrainConfig, folder: Path) -> LatentStatistics | None:
    """Return the statistics of the posteriors of the validation cases."""
    model, cases = (
        CustomVAE.from_pretrained(folder),
        open_cases(config.data, ProgressBar("prepare", False)),
    )
    health = LatentHealth()
    val = cases.survey("val").tolist()
    for index in val:
        case = cases[index]
        with torch.no_grad():
            health.add(model.encode(case.range.to_model(case.volume().data)[None]))
    return LatentStatistics.of(health.summary(), len(val))


def assert_same(first: LatentStatistics | None, second: LatentStatistics | None) -> None:
    assert first is not None
    assert second is not None
    for name, value in vars(second).items():
        assert getattr(first, name) == pytest.approx(value, rel=1e-4, abs=1e-5)


def test_a_training_measures_the_latents_of_exactly_the_weights_it_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool]] = []

    def spy(folder: Path, *arguments: Any) -> None:
        calls.append((folder.name, arguments[3] is not None))
        original(folder, *arguments)

    original = training.save_weights
    monkeypatch.setattr(training, "save_weights", spy)
    trainer = tiny_trainer(lr=1e-2, ema_decay=0.9, val_every=3, checkpoint_every=2)
    config = tiny_training(tmp_path, trainer=trainer, **WHOLE)
    folder = RunFolder(train(config))
    for which in ("best", "latest"):
        weights = folder.weights(which)
        assert_same(CustomVAE.from_pretrained(weights).statistics, measured(config, weights))
    # Steps 2, 4 and 8 were saved without a validation; 3 and 9 are saved as best.
    for_latest = [known for which, known in calls if which == "latest"]
    assert for_latest.count(False) == 3
    assert for_latest[-1]
    assert all(known for which, known in calls if which == "best")


def test_a_resumed_run_has_the_same_statistics(tmp_path: Path) -> None:
    config = tiny_training(tmp_path, **WHOLE)
    folder = RunFolder(train(config))
    files = [folder.weights(which) / "config.json" for which in ("best", "latest")]
    before = [file.read_bytes() for file in files]
    train(tiny_training(tmp_path, **{**WHOLE, "trainer": tiny_trainer(resume=4)}))
    assert [file.read_bytes() for file in files] == before


def test_without_validation_there_are_no_statistics(tmp_path: Path) -> None:
    changes = {**WHOLE, "data": SyntheticConfig(shape=(16, 16, 16), count=4, val_fraction=0)}
    folder = RunFolder(train(tiny_training(tmp_path, trainer=tiny_trainer(steps=2), **changes)))
    assert "latents" not in described(folder.weights("latest"))
