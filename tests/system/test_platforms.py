"""The systems and Pythons that the package says it runs on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

if sys.version_info >= (3, 11):
    import tomllib

    PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
else:
    pytest.skip("tomllib came with Python 3.11", allow_module_level=True)

WINDOWS = "vae3d runs on Linux and macOS; on Windows use WSL 2"


def child(script: str) -> subprocess.CompletedProcess[str]:
    """A new Python that runs a script."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_package_is_installed() -> None:
    folders = {path.parent for path in (ROOT / "vae3d").rglob("*.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert {*PROJECT["tool"]["setuptools"]["packages"]} == names | {"vae3d.conf"}


def test_the_pythons_that_are_named_are_those_that_are_allowed() -> None:
    first, last = re.fullmatch(
        r">=3\.(\d+),<3\.(\d+)", PROJECT["project"]["requires-python"]
    ).groups()  # type: ignore[union-attr]
    named = [c for c in PROJECT["project"]["classifiers"] if "Python ::" in c]
    assert named == [
        f"Programming Language :: Python :: 3.{n}" for n in range(int(first), int(last))
    ]


@pytest.mark.parametrize("words", [["train"], ["--help"], ["nonsense"], []])
def test_windows_is_refused_with_one_line(words: list[str]) -> None:
    done = child(
        "import sys; sys.platform = 'win32'\n"
        "for name in ('fcntl', 'resource', 'pty'): sys.modules[name] = None\n"
        "from vae3d.cli import main\n"
        f"sys.argv = ['vae3d', *{words!r}]; sys.exit(main())"
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"vae3d: {WINDOWS}")
    assert done.stderr.count("\n") == 1


def test_the_library_on_windows_says_so_when_it_is_used() -> None:
    done = child(
        "import sys; sys.platform = 'win32'\n"
        "import vae3d\nprint(vae3d.__version__)\nvae3d.train_3d"
    )
    assert done.stdout.strip()
    assert f"ImportError: {WINDOWS}" in done.stderr


@pytest.mark.faults
def test_the_syntax_is_that_of_the_oldest_python() -> None:
    python = [*Path.home().glob(".pyenv/versions/3.10*/bin/python")]
    if not python:
        pytest.skip("no Python 3.10 here")
    script = (
        "import ast, pathlib, sys\n"
        "for path in pathlib.Path('vae3d').rglob('*.py'): ast.parse(path.read_text(), str(path))"
    )
    subprocess.run([python[0], "-c", script], cwd=ROOT, check=True)
