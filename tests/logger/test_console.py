"""Tables print any name, and outlive their reader."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from vae3d.logger.console import table


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table("[all]", ["[case]"], [["scan[/old]"], ["[bold]"]])
    text = capsys.readouterr().out
    assert all(name in text for name in ("[all]", "[case]", "scan[/old]", "[bold]"))


@pytest.mark.parametrize("rows", [3, 5000])
def test_a_reader_that_has_gone_away_is_no_error(rows: int) -> None:
    script = f"""
import logging
from vae3d.logger.console import table
from vae3d.runtime.messages import show_messages
show_messages()
input()
table("scores", ["case"], [["x"]] * {rows})
logging.getLogger("vae3d.any").info("after")
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate("go\n")
    assert (process.returncode, errors) == (0, "after\n")


def test_a_terminal_without_unicode_gets_a_table() -> None:
    script = "from vae3d.logger.console import table; table('\\xe9', ['a'], [['\\xb5']])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"?" in done.stdout
