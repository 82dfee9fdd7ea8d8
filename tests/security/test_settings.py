"""Settings that anybody may have written: data, bounded, refused on one line, never resolved."""

import copy
import json
import os
import random
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
import yaml

from tests.conftest import tiny_model, tiny_training
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import RunError
from vae3d.files.plain import CODE_KEYS, MAX_JSON_BYTES
from vae3d.model.config import AttentionSpec, LevelSpec, VAEConfig
from vae3d.run.saved import load_config
from vae3d.runtime.choices import EARLIER
from vae3d.settings.saved import write_settings
from vae3d.values.latent_statistics import LatentStatistics

CANARY = "CANARY-2f1d9"
T = TypeVar("T")
SECONDS = 5
"""Of this process alone; a third of one is measured, where other parsers take minutes."""


def refusal(read: Callable[[Path], object], path: Path) -> str:
    """The one line with which `read` refuses."""
    with pytest.raises(RunError) as refused:
        read(path)
    line = str(refused.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def outcome(read: Callable[[Path], T], path: Path) -> T | str:
    """What `read` gives, or the one line with which it refuses."""
    try:
        return read(path)
    except RunError as error:
        line = str(error)
    assert "\n" not in line
    assert len(line) < 1000
    return line


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_settings(tiny_training(tmp_path), tmp_path / "config.yaml")
    return tmp_path / "config.yaml"


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a tree."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, item in [*pairs]:
        yield tree, key
        if isinstance(item, dict | list):
            yield from places(item)


def test_saved_settings_come_back(tmp_path: Path, config: Path) -> None:
    saved = tiny_training(tmp_path)
    # Settings without a rule are those of earlier versions.
    assert load_config(config) == replace(
        saved, data=saved.data.keeping(EARLIER), trainer=saved.trainer.keeping(EARLIER)
    )


def test_a_key_that_names_code_is_refused_wherever_it_stands(config: Path, weights: Path) -> None:
    settings, described = yaml.safe_load(config.read_text()), weights / "config.json"
    forms = ("os.system", ["os.system"], {"_target_": "os.system"}, "logging.os.system", None)
    for tree, path, read, dump in (
        (settings, config, load_config, yaml.safe_dump),
        (json.loads(described.read_text()), weights, CustomVAE.from_pretrained, json.dumps),
    ):
        tables = [tree, *(box[key] for box, key in places(tree) if isinstance(box[key], dict))]
        for number in range(len(CODE_KEYS) + len(tables)):
            name = CODE_KEYS[number % len(CODE_KEYS)]
            table = tables[max(number - len(CODE_KEYS), 0)]
            table[name] = forms[number % len(forms)]
            (described if path is weights else path).write_text(dump(tree))
            del table[name]
            assert f"{name}' names code" in refusal(read, path)


@pytest.mark.parametrize("text", ["${oc.env:VAE3D_CANARY}", "${seed}"])
def test_nothing_is_resolved(
    text: str, config: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAE3D_CANARY", CANARY)
    values = yaml.safe_load(config.read_text())
    loaded = 0
    for number in range(len([*places(values)])):
        evil = copy.deepcopy(values)
        box, key = [*places(evil)][number]
        box[key] = text
        config.write_text(yaml.safe_dump(evil))
        found = outcome(load_config, config)
        assert CANARY not in repr(found)
        if not isinstance(found, str):
            loaded += 1
            assert text in repr(found)
    assert loaded, "a text may hold it"
    described = json.loads((weights / "config.json").read_text())
    described["architecture"]["norm"] = described["origin"] = text
    (weights / "config.json").write_text(json.dumps(described))
    assert CANARY not in refusal(CustomVAE.from_pretrained, weights)


BILLION = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
BOMBS = {
    "large": "a: 1\n" * 2**18,
    "aliases": BILLION,
    "one alias": "seed: &a 1\nname: *a\n",
    "itself": "data: &a {kind: *a}",
    "merge": "a: &a {b: 1}\n<<: *a",
    "deep list": "a: " + "[" * 60000,
    "deep and closed": "a: " + "[" * 60 + "]" * 60,
    "deep table": "{a: " * 20000,
    "deep block": "- " * 50000,
    "deep keys": "? " * 50000,
    "number": "seed: " + "9" * 100000,
    "python": "a: !!python/object/apply:os.system ['touch canary']",
    "python name": "seed: !!python/name:os.system",
    "python new": "!!python/object/new:type {args: [x, [], {extend: !!python/name:exec}]}",
    "no number": "seed: !!int ''",
    "no time": "seed: !!timestamp x",
    "two documents": "a: 1\n---\nb: 2",
    "list": "[1, 2]",
    "text": "hello",
    "empty": "",
    "control": "a: \x00",
    "key": "? [a]\n: 1",
    "latin": "é",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_at_once(kind: str, config: Path) -> None:
    config.write_text(BOMBS[kind], encoding="latin-1" if kind == "latin" else "utf-8")
    before, memory = time.process_time(), peak()
    refusal(load_config, config)
    assert time.process_time() - before < SECONDS
    assert peak() - memory < 256 * 2**20
    assert not Path("canary").exists()


def peak() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


JSON_BOMBS = {
    "large": "[" + "1," * MAX_JSON_BYTES + "1]",
    "deep": "[" * 500000,
    "deep tables": '{"a":' * 100000,
    "deep and closed": '{"architecture":' + "[" * 60 + "]" * 60 + "}",
    "nan": '{"format_version": NaN}',
    "infinity": '{"architecture": {"dropout": -Infinity}}',
    "twice": '{"architecture": {}, "architecture": {}}',
    "number": '{"format_version": ' + "9" * 100000 + "}",
    "list": "[]",
    "nothing": "",
    "version": '{"architecture": {}, "format_version": "' + "x" * 10000 + '"}',
    "contract": '{"architecture": {}, "format_version": 1, "contract": [1]}',
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
def test_bombs_beside_weights_too(kind: str, weights: Path) -> None:
    (weights / "config.json").write_text(JSON_BOMBS[kind])
    before = time.process_time()
    assert len(refusal(CustomVAE.from_pretrained, weights)) < 1000
    assert time.process_time() - before < SECONDS


def test_what_is_no_file_is_not_waited_for(weights: Path, config: Path) -> None:
    for path, read, folder in (
        (config, load_config, config),
        (weights / "config.json", CustomVAE.from_pretrained, weights),
    ):
        path.unlink()
        os.mkfifo(path)
        assert "is a pipe, not a file" in refusal(read, folder)


def test_a_gigantic_network_is_refused_before_it_is_built(weights: Path) -> None:
    level = {"channels": 4096, "blocks": 64, "stride": [1], "attention": "windowed"}
    path = weights / "config.json"
    described = json.loads(path.read_text())
    described["architecture"]["levels"] = [level] * 12
    described["architecture"]["attention"]["window"] = [64]
    path.write_text(json.dumps(described))
    before, memory = time.process_time(), peak()
    line = refusal(CustomVAE.from_pretrained, weights)
    assert "encoder.stem.weight has shape (4, 1, 3, 3, 3), not (4096, 1, 3, 3, 3)" in line
    assert peak() - memory < 2**30
    assert time.process_time() - before < 30


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("latent_channels", "4", "model.latent_channels must be a whole number, got '4'"),
        ("latent_channels", True, "model.latent_channels must be a whole number, got True"),
        ("latent_channels", 4.5, "must be a whole number"),
        ("latent_channels", 10**9, "must be in [1, 4096]"),
        ("dropout", "0.1", "model.dropout must be a number"),
        ("dropout", 10**400, "must be a number, got a huge number"),
        ("fixed_std", 1e999, "holds Infinity"),
        ("norm", ["layer"], "model.norm must be text"),
        ("norm", "os.system", "model.norm must be one of"),
        ("zero_init", 1, "model.zero_init must be true or false"),
        ("levels", {}, "model.levels must be a list"),
        ("levels", [[]], "model.levels.0 must be a table"),
        ("levels", [], "must hold 1 to 12 levels"),
        ("levels", [{"channels": 0, "attention": "global"}], "channels must be in [1, 4096]"),
        ("levels", [{"channels": 8, "blocks": 10**6}], "blocks must be in [0, 64]"),
        (
            "levels",
            [{"channels": 8, "stride": [[2]]}],
            "stride must be one whole number or a list",
        ),
        ("levels", [{"channels": 8, "stride": []}], "stride needs 1, 2 or 3 numbers"),
        ("attention", None, "model.attention must be a table"),
        ("patch", [4096], "model.patch must be in [1, 16]"),
        ("import_me", "os.system", "unknown key 'model.import_me'"),
    ],
)
def test_wrong_values_are_named(weights: Path, key: str, value: Any, said: str) -> None:
    path = weights / "config.json"
    described = json.loads(path.read_text())
    described["architecture"][key] = value
    path.write_text(json.dumps(described))
    assert said in refusal(CustomVAE.from_pretrained, weights)


def strange(draw: random.Random) -> Any:
    """A value that does not belong."""
    return draw.choice(
        [
            *(None, True, False, "", "x", "none", "${oc.env:HOME}", "\x1b[31m\n", "9" * 50),
            *(0, -1, 1, 2, 3, 7, 10**9, 2**63, -(2**64), 10**400, 1e308, -1e-300, 0.5, 1e999),
            *([], [[]], [1, 2], [2] * 5, ["a"], {}, {"a": 1}, {"": {}}, [{}], [None]),
        ]
    )


def test_no_change_of_a_description_gives_anything_but_a_model_or_one_line(
    tmp_path: Path,
) -> None:
    config = VAEConfig(
        spatial_dims=3,
        levels=[LevelSpec(8, attention="windowed"), LevelSpec(8, stride=(2,))],
        norm="group",
        attention=AttentionSpec("global", window=(2,), head_channels=4),
        patch=(1,),
    )
    model = CustomVAE(config)
    model.statistics = LatentStatistics(1.0, 0.0, [0.0] * 4, [1.0] * 4, cases=2)
    model.save_pretrained(tmp_path / "w")
    path, draw, loaded = tmp_path / "w" / "config.json", random.Random(0), 0
    original = json.loads(path.read_text())
    for _ in range(300):
        values = copy.deepcopy(original)
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            box, key = draw.choice([*places(values)])
            change = draw.random()
            if change < 0.15:
                del box[key]
            elif change < 0.25 and isinstance(box, dict):
                box[draw.choice(["x", "_x", "channels", "window", "patch"])] = strange(draw)
            else:
                box[key] = strange(draw)
        path.write_text(json.dumps(values))
        found = outcome(CustomVAE.from_pretrained, tmp_path / "w")
        if not isinstance(found, str):
            loaded += 1
            assert not any(p.is_meta for p in found.parameters())
    assert 10 < loaded < 200


def test_no_change_of_a_runs_settings_either(config: Path) -> None:
    original, draw, loaded = yaml.safe_load(config.read_text()), random.Random(0), 0
    for _ in range(150):
        values = copy.deepcopy(original)
        box, key = draw.choice([*places(values)])
        if draw.random() < 0.2:
            del box[key]
        else:
            box[key] = strange(draw)
        config.write_text(yaml.safe_dump(values))
        loaded += not isinstance(outcome(load_config, config), str)
    assert 10 < loaded < 140


def test_loading_changes_no_random_numbers_and_copies_the_file(weights: Path) -> None:
    state = torch.get_rng_state()
    model = CustomVAE.from_pretrained(weights)
    assert torch.equal(torch.get_rng_state(), state)
    before = (weights / "model.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (weights / "model.safetensors").read_bytes() == before
