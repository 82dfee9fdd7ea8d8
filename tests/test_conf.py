"""Every option of every group composes for every command, and the models build."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from vae3d.config import CONFIGS

from vae3d import conf as conf_package
from vae3d.cli.compose import register_schemas, to_object
from vae3d.commands.eval import EvalConfig
from vae3d.commands.saved import load_config, save_config
from vae3d.commands.train import TrainConfig
from vae3d.model.vae import CustomVAE
from vae3d.settings.saved import describe, differences

CONF = Path(next(iter(conf_package.__path__)))
PACKAGE = Path(__file__).parent.parent / "vae3d"
COMMANDS = CONFIGS
GROUPS = {
    "train": ["data", "patching", "model", "loss", "trainer", "evaluation", "logger"],
    "eval": ["data", "evaluation", "logger"],
    "prepare": ["data"],
    "inspect": ["data", "patching"],
    "info": ["model"],
    "compare": [],
}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(command: str, *overrides: str) -> TrainConfig | EvalConfig:
    GlobalHydra.instance().clear()
    register_schemas()
    with initialize_config_module("vae3d.conf", version_base="1.3"):
        return to_object(compose(command, list(overrides)), COMMANDS[command])


ALL = [
    (command, f"{group}={option}")
    for command, groups in GROUPS.items()
    for group in groups
    for option in options(group)
]


@pytest.mark.parametrize(("command", "override"), ALL, ids=" ".join)
def test_every_option_composes(command: str, override: str) -> None:
    assert isinstance(composed(command, override), COMMANDS[command])


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_composes(name: str) -> None:
    assert isinstance(composed("train", f"+experiment={name}"), TrainConfig)


@pytest.mark.parametrize("name", options("model"))
def test_every_model_builds(name: str) -> None:
    config = composed("train", f"model={name}")
    assert isinstance(config, TrainConfig)
    assert CustomVAE(config.model).factor == (4, 4, 4)


def test_several_loggers_at_once() -> None:
    config = composed("train", "logger=[wandb,tensorboard]")
    assert config.logger.wandb is not None
    assert config.logger.tensorboard is not None


def test_every_group_is_a_folder_of_the_package() -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir()} - {"__pycache__"}
    assert groups - {"experiment"} == set(GROUPS["train"])
    assert all((PACKAGE / group).is_dir() for group in groups - {"experiment"})


@pytest.mark.parametrize("data", ["synthetic", "ct", "mri", "images_2d", "custom"])
@pytest.mark.parametrize("patching", options("patching"))
def test_saved_settings_read_back(tmp_path: Path, data: str, patching: str) -> None:
    config = composed("train", f"data={data}", f"patching={patching}", "logger=wandb")
    assert isinstance(config, TrainConfig)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert differences(describe(config), describe(load_config(tmp_path / "config.yaml"))) == []


def test_published_protocols() -> None:
    maisi: EvalConfig = composed("eval", "evaluation=maisi")
    assert maisi.evaluation.window == (-1000, 1000)
    assert maisi.evaluation.model_range == (0, 1)
    medvae: EvalConfig = composed("eval", "evaluation=medvae")
    assert medvae.evaluation.crop == (160,)
    assert medvae.evaluation.model_range == (0, 1)
    assert medvae.evaluation.window is None
