"""Plugins are recorded by name, and imported by the command line and by Python alone."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from tests.conftest import tiny_model
from vae3d import CustomVAE
from vae3d.cli.dispatch import dispatch
from vae3d.errors import ConfigError, RunError, UserError
from vae3d.loss.config import LOSSES, LossConfig
from vae3d.model.config import ACTIVATIONS, NORMS
from vae3d.run.saved import load_config
from vae3d.runtime.registry import Registry
from vae3d.scoring.config import METRICS

MODULE = "plugin_of_a_test"
CODE = """
from torch import nn
from vae3d import ACTIVATIONS, LOSSES, METRICS, NORMS
from vae3d.scoring.metrics import Metric

@LOSSES.register("quartic")
def quartic(reconstruction, image):
    return (reconstruction - image).pow(4).flatten(1).mean(dim=1)

@ACTIVATIONS.register("softsign")
class Softsign(nn.Softsign):
    pass

@NORMS.register("halved")
class Halved(nn.Module):
    def __init__(self, dims, channels, groups):
        super().__init__()
    def forward(self, x):
        return x / 2

METRICS.register("mae_tenfold")(Metric(lambda e, s: 10 * e.absolute * s.scan, "{unit}"))
"""
TRAIN = [
    *("train", "name=p", "trainer=debug", "trainer.steps=2", "trainer.device=cpu", "model=tiny"),
    *("data.shape=[8,8,8]", "data.count=4", "patching.size=[8]", "evaluation.media=[]"),
]
OWN = ["model.norm=halved", "model.activation=softsign", "loss.terms.quartic=1"]


def forget() -> None:
    for registry, name in (
        (LOSSES, "quartic"), (ACTIVATIONS, "softsign"), (NORMS, "halved"), (METRICS, "mae_tenfold")
    ):  # fmt: skip
        registry.remove(name)
    sys.modules.pop(MODULE, None)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that can be imported, and is forgotten afterwards."""
    (tmp_path / f"{MODULE}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vae3d"])
    yield MODULE
    forget()


def test_a_run_with_plugins_names_them_and_imports_none(
    plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*TRAIN, *OWN, f"plugins={plugin}"]) == 0
    config, weights = tmp_path / "runs/p/config.yaml", tmp_path / "runs/p/weights/latest"
    assert yaml.safe_load(config.read_text())["plugins"] == [plugin]
    assert json.loads((weights / "config.json").read_text())["plugins"] == [plugin]
    expected = CustomVAE.from_pretrained(weights).encode(torch.ones(1, 1, 8, 8, 8)).mean
    forget()
    for read, path in ((load_config, config), (CustomVAE.from_pretrained, weights)):
        with pytest.raises(RunError, match=rf"add plugins=\[{plugin}\], or in Python import"):
            read(path)
    command = ["info", "run=runs/p", "measure=false", "size=8"]
    with pytest.raises(UserError, match=rf"add plugins=\[{plugin}\]"):
        dispatch(command)
    with pytest.raises(UserError, match=r"loss\.terms\.quartic is not a loss"):
        dispatch([*TRAIN, *OWN[2:]])
    assert plugin not in sys.modules
    capsys.readouterr()
    assert dispatch([*command, f"plugins=[{plugin}]"]) == 0
    assert "a Halved cannot be streamed" in capsys.readouterr().out
    found = CustomVAE.from_pretrained(weights).encode(torch.ones(1, 1, 8, 8, 8)).mean
    assert torch.equal(found, expected)
    assert dispatch([*TRAIN, *OWN, f"plugins={plugin}", "trainer.steps=3"]) == 0, "it resumes"


def test_a_metric_of_a_plugin_is_scored(plugin: str, tmp_path: Path) -> None:
    assert dispatch(TRAIN) == 0
    scores = [
        "evaluation=scores",
        "evaluation.metrics=[mae,mae_tenfold]",
        "evaluation.floor=false",
    ]
    assert dispatch(["eval", "runs/p", "device=cpu", *scores, f"plugins={plugin}"]) == 0
    means = json.loads((tmp_path / "runs/p/report/full/summary.json").read_text())["scores"]
    assert means["mae_tenfold"]["mean"] == pytest.approx(10 * means["mae"]["mean"])


def test_only_the_command_line_names_plugins(plugin: str, tmp_path: Path) -> None:
    (tmp_path / "own/experiment").mkdir(parents=True)
    (tmp_path / "own/experiment/x.yaml").write_text(
        f"# @package _global_\ndefaults: [_self_]\nplugins: [{plugin}]\n"
    )
    with pytest.raises(ConfigError, match="plugins are code that runs"):
        dispatch([*TRAIN, "--config-dir", str(tmp_path / "own"), "+experiment=x"])
    assert plugin not in sys.modules
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("wrong", ["no_such_plugin", "[../x]", "[a b]", "[1a]", "os.nothing"])
def test_a_plugin_that_there_is_not_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"^plugins"):
        dispatch([*TRAIN, f"plugins={wrong}"])


@pytest.mark.parametrize("code", ["raise RuntimeError('boom')", "def", "import sys; sys.exit(3)"])
def test_a_plugin_that_breaks_is_named(code: str, plugin: str, tmp_path: Path) -> None:
    (tmp_path / f"{plugin}.py").write_text(code)
    with pytest.raises(ConfigError, match=rf"^plugins: {plugin} cannot be imported: \w+: "):
        dispatch([*TRAIN, f"plugins={plugin}"])


def test_a_loss_of_another_shape_is_named(plugin: str, tmp_path: Path) -> None:
    (tmp_path / f"{plugin}.py").write_text(CODE.replace(".flatten(1).mean(dim=1)", ".mean()"))
    with pytest.raises(ConfigError, match=r"loss\.terms\.quartic must return .* got shape \(\)"):
        dispatch([*TRAIN, "loss.terms.quartic=1", f"plugins={plugin}"])


def test_a_name_belongs_to_one_module() -> None:
    registry: Registry[int] = Registry("number", {"one": "math:pi"})
    assert registry["one"] == 3.141592653589793
    with pytest.raises(ConfigError, match="there is a number called 'one' already"):
        registry.register("one")(1)
    registry.register("two")(2)
    registry.register("two")(3)
    assert (registry["two"], registry.plugin_of("two")) == (3, __name__)
    assert registry.plugin_of("one") is None
    assert [*registry] == ["one", "two"]
    with pytest.raises(KeyError):
        registry["three"]


def test_a_loss_from_python_is_recorded(plugin: str) -> None:
    __import__(plugin)
    assert LossConfig(terms={"quartic": 1.0, "l1": 1.0}).plugins == [plugin]
    assert LossConfig().plugins == []


@pytest.mark.parametrize("wrong", ["os", [1], {"a": "b"}, [["os"]], None])
def test_what_weights_call_plugins_is_text_alone(
    plugin: str, tmp_path: Path, wrong: object
) -> None:
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "w")
    path = tmp_path / "w/config.json"
    described = json.loads(path.read_text())
    assert described["plugins"] == [], "weights that need none name none"
    path.write_text(json.dumps({**described, "plugins": [plugin, "os.system", "../x"]}))
    CustomVAE.from_pretrained(tmp_path / "w")
    path.write_text(json.dumps({**described, "plugins": wrong}))
    with pytest.raises(RunError, match="plugins"):
        CustomVAE.from_pretrained(tmp_path / "w")
    assert plugin not in sys.modules
