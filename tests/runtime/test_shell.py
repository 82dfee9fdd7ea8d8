"""Commands to copy are read back as the same words by every shell."""

import shutil
import subprocess

import pytest

from vae3d.runtime.shell import command_line

WORDS = [
    *(
        "data.window=[-200,300]",
        "=ls",
        "='a",
        "run=~/runs/x y",
        "it's",
        "a*b",
        "?",
        "#x",
        "^a",
        "",
    ),
    *("$HOME", "`id`", "!1", "a\\b", "{a,b}", "name=läuft", "a;b", "(1)", "=a=b", "a\nb"),
]


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_words_are_read_back(shell: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    options = ["-o", "extendedglob"] if shell == "zsh" else []
    command = f"printf '%s\\0' {command_line(WORDS)}"
    done = subprocess.run([shell, *options, "-c", command], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == WORDS
