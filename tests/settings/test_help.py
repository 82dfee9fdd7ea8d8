"""Every setting explains itself: in its class, in the help, and in docs/settings.md."""

import dataclasses
import functools
import operator
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import vae3d
from vae3d.bounds import hints_of, parts
from vae3d.cli.compose import composed
from vae3d.commands import COMMANDS
from vae3d.settings.groups import groups_of, kinds, option_values
from vae3d.settings.reference import reference
from vae3d.settings.schema import inner_class, sentences_of, settings_of

DOCS = Path(__file__).parent.parent.parent / "docs"


def classes_below(kind: Any) -> set[Any]:
    """A settings dataclass and all that its fields hold."""
    found = {kind}
    for hint in hints_of(kind).values():
        inner = inner_class(parts(hint)[0])
        if inner is not None and inner not in found:
            found |= classes_below(inner)
    return found


CLASSES = {
    *(kind for name in COMMANDS for kind in classes_below(COMMANDS[name].config)),
    *(kind for group in ("data", "patching") for kind in kinds(group).values()),
}


@pytest.mark.parametrize("kind", sorted(CLASSES, key=lambda kind: kind.__name__))
def test_every_field_has_its_sentence(kind: Any) -> None:
    sentences = sentences_of(kind)
    for field in dataclasses.fields(kind):
        sentence = sentences[field.name]
        assert re.fullmatch(r"[A-Z0-9].{8,}\.", sentence), f"{field.name}: {sentence!r}"
        assert not re.search(r"\.\s+[A-Z]", sentence), f"{field.name} has more than one sentence"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_a_rule(command: str) -> None:
    for setting in settings_of(COMMANDS[command]):
        assert setting.bound or setting.choices, setting.key


def test_the_reference_is_up_to_date() -> None:
    page = reference([*COMMANDS.values()])
    assert (DOCS / "settings.md").read_text() == page, "run: make settings"
    for name in COMMANDS:
        for setting in settings_of(COMMANDS[name]):
            assert f"| `{setting.key}` |" in page


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_key_option_and_example(command: str, tmp_path: Path) -> None:
    done = vae3d(command, "--help", cwd=tmp_path, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    text = done.stdout
    assert max(map(len, text.splitlines())) <= 80
    assert "_schema" not in text
    assert "Hydra is" not in text
    flat = re.sub(r"\s+", " ", text)
    for example, why in COMMANDS[command].examples:
        assert example in flat
        assert why in flat
    for group in groups_of(COMMANDS[command]).values():
        for option, sentence in group.options.items():
            assert f" {option} " in text
            assert sentence in flat
    chosen = {g.name: g.default for g in groups_of(COMMANDS[command]).values() if g.default}
    for setting in settings_of(COMMANDS[command], chosen):
        assert f" {setting.key}=" in text
        assert setting.sentence in flat


def test_help_shows_the_keys_and_values_of_the_options_that_were_typed(tmp_path: Path) -> None:
    text = vae3d("train", "data=ct", "model=base", "trainer.lr=1e-4", "-h", cwd=tmp_path).stdout
    assert "data.root=null" in text
    assert "data.window=[-1000,1000]" in text
    assert "data.count=" not in text
    assert "channels: 128" in text
    assert "trainer.lr=1e-4" in text
    assert (
        vae3d("help", "train", cwd=tmp_path).stdout
        == vae3d("train", "--help", cwd=tmp_path).stdout
    )


def test_help_offers_no_option_that_the_command_refuses(tmp_path: Path) -> None:
    # That every option of the help composes is a test of the option files.
    refused = vae3d("prepare", "data=store", cwd=tmp_path)
    assert refused.returncode == 2
    assert "data=store is for vae3d train" in refused.stderr


@pytest.mark.parametrize("option", ["maisi", "medvae", "scores", "default"])
def test_help_reads_option_files_as_hydra_does(option: str) -> None:
    values = option_values(COMMANDS["eval"], {"evaluation": option, "data": "run"})
    truth = dataclasses.asdict(composed("eval", f"evaluation={option}"))
    for key, value in values.items():
        expected = functools.reduce(operator.getitem, key.split("."), truth)
        assert (list(expected) if isinstance(expected, tuple) else expected) == value
