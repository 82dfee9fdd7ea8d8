"""What README and docs say is true: commands compose, names exist, nothing is left out."""

import re
import shlex
from pathlib import Path

import pytest

from tests.test_conf import options
from vae3d.cli.compose import composed
from vae3d.cli.line import Line
from vae3d.commands import COMMANDS
from vae3d.loss.config import LOSSES
from vae3d.scoring.config import METRICS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXPERIMENTS = sorted((ROOT / "conf/experiment").glob("*.yaml"))


def commands_in(text: str) -> list[str]:
    pattern = rf"(?:^|-m )(vae3d (?:{'|'.join(COMMANDS)}) [^#\n`]*)"
    lines = re.findall(pattern, text, flags=re.MULTILINE)
    return [line.strip() for line in lines]


EXAMPLES = commands_in(README) + [
    command
    for path in EXPERIMENTS
    for command in re.findall(r"^# (vae3d train [^#\n]*?)(?: {2,}|$)", path.read_text(), re.M)
]


@pytest.mark.parametrize("command", EXAMPLES)
def test_commands_compose(command: str) -> None:
    _, name, *arguments = shlex.split(command)
    # A sweep's values are tried one by one: the first of each.
    swept = "-m" in arguments
    given = [re.sub(r",.*", "", a) if swept else a for a in arguments if a[0] != "-"]
    composed(name, *Line.of(COMMANDS[name], given).overrides)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("name", [*COMMANDS, *LOSSES, *METRICS])
def test_names_are_in_the_readme(name: str) -> None:
    assert re.search(rf"\b{name}\b", README, flags=re.IGNORECASE)


@pytest.mark.parametrize("group", ["data", "patching", "model", "logger"])
def test_options_are_in_the_readme(group: str) -> None:
    for option in options(group):
        if option not in ("run", "none"):
            assert f"`{option}`" in README or f"{group}={option}" in README, option


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
