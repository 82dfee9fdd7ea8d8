"""Every option of every group composes for every command, and the models build."""

from pathlib import Path

import pytest
import yaml

from vae3d import conf as conf_package
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.cli.jobs import checked_settings
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.commands.eval import EvalConfig
from vae3d.data.config import CaseData
from vae3d.run.config import TrainConfig
from vae3d.run.saved import load_config
from vae3d.runtime.differences import differences
from vae3d.settings.groups import EXPERIMENT, groups_of
from vae3d.settings.saved import describe, write_settings

CONF = Path(next(iter(conf_package.__path__)))
PACKAGE = Path(__file__).parent.parent / "vae3d"


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


ALL = [
    (name, f"{group.name}={option}")
    for name in COMMANDS
    for group in groups_of(COMMANDS[name]).values()
    for option in group.options
    if group.name != EXPERIMENT
]


@pytest.mark.parametrize(("command", "override"), ALL, ids=" ".join)
def test_every_option_composes(command: str, override: str) -> None:
    assert isinstance(composed(command, override), COMMANDS[command].config)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_dataclasses_and_the_option_files_have_the_same_defaults(command: str) -> None:
    from_python = COMMANDS[command].config()
    assert differences(describe(from_python), describe(composed(command))) == []
    assert from_python == composed(command)


@pytest.mark.parametrize(
    ("group", "option"),
    [
        (group.name, option)
        for group in groups_of(COMMANDS["train"]).values()
        for option in group.options
        if group.name != EXPERIMENT
    ],
    ids=str,
)
def test_an_option_file_holds_only_what_differs(group: str, option: str) -> None:
    values = yaml.safe_load((CONF / group / f"{option}.yaml").read_text())
    values.pop("defaults", None)
    chosen = describe(composed("train", f"{group}={option}"))[group]
    plain = describe(COMMANDS["train"].config())[group]
    if group == "loss":
        # OmegaConf adds tables up, so that every recipe has to name all of its terms.
        assert values.pop("terms") == chosen["terms"]
    for key, value in values.items():
        assert key in chosen
        assert group == "logger" or chosen[key] != plain[key], f"{key}: {value} is the default"


@pytest.mark.parametrize(
    ("recipe", "terms"),
    [
        ("l1_kl", {"l1": 1.0}),
        ("mse_kl", {"mse": 1.0}),
        ("l1_ssim_kl", {"l1": 1.0, "ssim": 0.1}),
    ],
)
def test_a_loss_recipe_has_its_own_terms_alone(recipe: str, terms: dict[str, float]) -> None:
    assert composed("train", f"loss={recipe}").loss.terms == terms


@pytest.mark.parametrize(
    ("typed", "terms"),
    [("{ssim: 1}", {"ssim": 1.0}), ("{mse: 2, l1: 0.5}", {"mse": 2.0, "l1": 0.5})],
)
def test_a_table_that_is_typed_whole_replaces_the_default(
    typed: str, terms: dict[str, float]
) -> None:
    line = Line.of(COMMANDS["train"], [f"loss.terms={typed}"])
    assert checked_settings(line)[0].loss.terms == terms
    line = Line.of(COMMANDS["train"], ["loss.terms.eagle=1"])
    assert checked_settings(line)[0].loss.terms == {"l1": 1.0, "eagle": 1.0}


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
    assert groups == {name for command in COMMANDS.values() for name in groups_of(command)}
    assert all((PACKAGE / group).is_dir() for group in groups - {EXPERIMENT})


@pytest.mark.parametrize("data", ["synthetic", "ct", "mri", "images_2d", "custom"])
@pytest.mark.parametrize("patching", options("patching"))
def test_saved_settings_read_back(tmp_path: Path, data: str, patching: str) -> None:
    config = composed("train", f"data={data}", f"patching={patching}", "logger=wandb")
    assert isinstance(config, TrainConfig)
    assert isinstance(config.data, CaseData)
    # A training records what settings that are null stand for.
    config.data = config.data.keeping(
        {
            **{"split_rule": "hash", "label_maps": "leave_out", "window": (0.0, 255.0)},
            **{"resampling": "filtered", "reader": 2},
        }
    )
    config.trainer = config.trainer.divided("cpu", cores=2, in_parts=True)
    write_settings(config, tmp_path / "config.yaml")
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
