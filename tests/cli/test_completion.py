"""Tab completes commands, groups, options, keys, choices and paths, in the shells themselves."""

import os
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.catalog import Small
from vae3d.cli.catalog import FILES, FOLDERS
from vae3d.cli.completion import answer, candidates, parse
from vae3d.errors import ConfigError

ROOT = Path(__file__).parents[2]
BREAKS = " \t\n\"'@><=;|&(:"
"""COMP_WORDBREAKS of bash."""
PROMPT = "ready:"
FAKE = f"""\
#!/bin/sh
if [ "$1" = completion ]; then
    PYTHONPATH={ROOT} exec {sys.executable} -c 'import sys
from tests.cli.catalog import Small
from vae3d.cli.completion import answer
sys.stdout.write(answer(Small(), sys.argv[2:]))' "$@"
fi
printf RAN; for word; do printf '<%s>' "$word"; done; echo
"""


def texts(line: str) -> list[str]:
    """What may follow a line, without the sentences."""
    words, current, *_ = parse(line, "")
    return [text for text, _ in candidates(Small(), words, current)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vae3d ", ["train", "eval", "compare", "completion"]),
        ("vae3d tr", ["train"]),
        ("vae3d --", ["--help", "--version"]),
        ("vae3d completion ", ["bash", "zsh", "fish"]),
        ("vae3d completion bash ", []),
        ("vae3d nothing da", []),
        ("vae3d train ", ["name=", "trainer.", "like=", "data=", "trainer="]),
        ("vae3d train tr", ["trainer.", "trainer="]),
        ("vae3d train trainer.", ["trainer.lr=", "trainer.ema=", "trainer.scores="]),
        ("vae3d train trainer.e", ["trainer.ema="]),
        ("vae3d train data=", ["ct", "custom"]),
        ("vae3d train data=cu", ["custom"]),
        ("vae3d train +data=cu", ["custom"]),
        ("vae3d train data=ct,cu", ["custom"]),
        ("vae3d train trainer.ema=", ["true", "false"]),
        ("vae3d train trainer.scores=[psnr,s", ["ssim"]),
        ("vae3d train trainer.lr=", []),
        ("vae3d train unknown=", []),
        ("vae3d train data.", []),
        ("vae3d train data=ct data.", ["data.root=", "data.store="]),
        ("vae3d train --data ct da", ["data."]),
        ("vae3d train data=ct name=x like=y ", ["trainer.", "data.", "trainer="]),
        ("vae3d train --", ["--help", "--cfg", "--multirun", "--resolve", "--package", "--info",
                            "--config-dir", "--hydra-help"]),
        ("vae3d train --cfg ", ["job", "hydra", "all"]),
        ("vae3d train --config-dir ", [FOLDERS]),
        ("vae3d train --d", ["--data"]),
        ("vae3d train --data ", ["ct", "custom"]),
        ("vae3d train --data=c", ["ct", "custom"]),
        ("vae3d train --trainer.e", ["--trainer.ema"]),
        ("vae3d train ++trainer.e", ["++trainer.ema="]),
        ("vae3d train ~trainer.e", ["~trainer.ema"]),
        ("vae3d train data=ct data.root=/x", [FOLDERS]),
        ("vae3d train data=ct data.store=", ["auto", FOLDERS]),
        ("vae3d train like=/x", [FILES]),
        ("vae3d eval ", [FOLDERS, "run=", "mode="]),
        ("vae3d eval ru", [FOLDERS, "run="]),
        ("vae3d eval runs/", [FOLDERS]),
        ("vae3d eval runs/a ", ["run=", "mode="]),
        ("vae3d eval run=runs/a ", ["mode="]),
        ("vae3d compare runs/a ", [FOLDERS, "run=", "mode="]),
        ("vae3d compare 'run=[a,b]' ", ["mode="]),
    ],
)  # fmt: skip
def test_what_may_follow(line: str, expected: list[str]) -> None:
    before = re.split(r"[=,]", line.rpartition(" ")[2])
    found = texts(line)
    if len(before) > 1:
        start = line.rpartition(" ")[2][: -len(before[-1]) or None]
        found = [text.removeprefix(start) for text in found]
    assert sorted(found) == sorted(expected)


def test_each_candidate_has_a_sentence() -> None:
    assert candidates(Small(), ["train"], "data=c") == [
        ("data=ct", "CT: in HU"),
        ("data=custom", "any"),
    ]
    assert dict(candidates(Small(), ["train"], ""))["data="] == "one of ct, custom"
    assert dict(candidates(Small(), ["train"], "trainer."))["trainer.lr="] == "learning rate"
    assert candidates(Small(), ["train"], "like=/x,y") == [(FILES, "like=")]


@pytest.mark.parametrize(
    ("line", "breaks", "expected"),
    [
        ("vae3d train data=c", "", (["train"], "data=c", 0)),
        ("vae3d train data=c", BREAKS, (["train"], "data=c", 5)),
        ("vae3d train 'data=c", BREAKS, (["train"], "data=c", 0)),
        ("vae3d train name='a b'/c", BREAKS, (["train"], "name=a b/c", 8)),
        ("vae3d train name='a b", BREAKS, (["train"], "name=a b", 5)),
        ('vae3d train name="a b', BREAKS, (["train"], "name=a b", 5)),
        (r"vae3d train name=a\ b", BREAKS, (["train"], "name=a b", 5)),
        ("vae3d 'a b' \"c d\" ", BREAKS, (["a b", "c d"], "", 0)),
        ("X=1 nice /usr/bin/vae3d train ", BREAKS, (["train"], "", 0)),
        ("python x ", BREAKS, (["x"], "", 0)),
        ("vae3d \\", BREAKS, ([], "", 0)),
        ('vae3d "\\', BREAKS, ([], "", 0)),
        ("", BREAKS, ([], "", 0)),
    ],
)
def test_lines_are_taken_apart(
    line: str, breaks: str, expected: tuple[list[str], str, int]
) -> None:
    assert parse(line, breaks)[:3] == expected


def test_the_answer_to_a_tab() -> None:
    assert answer(Small(), ["--words", "vae3d train data=c"]) == (
        "data=ct \tCT: in HU\ndata=custom \tany\n"
    )
    assert answer(Small(), ["--words", "vae3d train data=c", BREAKS]) == (
        "ct \tCT: in HU\ncustom \tany\n"
    )
    line = "vae3d train data=ct data.store=/sc"
    assert answer(Small(), ["--words", line]) == "@folders\tdata.store=\t/sc\n"
    assert answer(Small(), ["--words", line, BREAKS]) == "@folders\t\t/sc\n"
    assert answer(Small(), ["--words", "vae3d train na"]) == "name=\tof the run\n"
    assert answer(Small(), ["--words", ""]) == "".join(
        f"{name} \t{about}\n" for name, about in Small().commands().items()
    )


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["--words"], ["bash", "zsh"], ["--help"]])
def test_other_shells_are_refused(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="type vae3d completion bash or vae3d completion zsh"):
        answer(Small(), arguments)


class Terminal:
    """An interactive shell, in which keys are pressed."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        self.unread = ""
        # A process of its own forks: this one may have threads.
        spawn = [sys.executable, "-c", "import pty, sys; pty.spawn(sys.argv[1:])", *command]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        self.process = subprocess.Popen(spawn, env=env, cwd=cwd, **pipes)

    def read(self, until: str, seconds: float = 60) -> str:
        """Return what the shell wrote, up to this text and no further."""
        end = time.monotonic() + seconds
        while until not in self.unread:
            left = max(0, end - time.monotonic())
            ready, _, _ = select.select([self.process.stdout], [], [], left)
            assert ready, f"no {until!r} in {self.unread!r}"
            self.unread += os.read(self.process.stdout.fileno(), 65536).decode(errors="replace")
        seen, _, self.unread = self.unread.partition(until)
        return seen

    def press(self, keys: str) -> None:
        """Types keys."""
        self.process.stdin.write(keys.encode())

    def close(self) -> None:
        """Ends the shell."""
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a vae3d of its own, and paths to complete."""
    fake = tmp_path / "bin/vae3d"
    fake.parent.mkdir()
    fake.write_text(FAKE)
    fake.chmod(0o755)
    for name in ("runs/ct64", "runs/sp ace", "scans"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "scans/list.csv").touch()
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
        "INPUTRC": "/dev/null",
    }


START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"PS1='{PROMPT} '"),
    "zsh": (["zsh", "-f", "-i"], f"PS1='{PROMPT} ' && unsetopt zle_bracketed_paste"),
}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_tab_at_a_terminal(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, prompt = START[shell]
    terminal = Terminal(command, environment(folder), folder)
    try:
        terminal.press(f'{prompt}; eval "$(vae3d completion {shell})"; echo on""line\n')
        terminal.read("online")
        for keys, expected in TYPED.items():
            terminal.read(PROMPT)
            terminal.press(f"{keys}\n")
            terminal.read("RAN")
            # zsh removes the slash that it added.
            assert terminal.read("\r").replace("/>", ">") == expected, keys
    finally:
        terminal.close()


TYPED = {
    "vae3d tr\t": "<train>",
    "vae3d train data=cu\tna\tx": "<train><data=custom><name=x>",
    "vae3d train 'data=cu\t": "<train><data=custom>",
    "vae3d train --dat\tcu\t": "<train><--data><custom>",
    "vae3d train trainer.e\tt\t": "<train><trainer.ema=true>",
    "vae3d train data=ct data.ro\tsc\t": "<train><data=ct><data.root=scans>",
    "vae3d train data=ct data.store=au\t": "<train><data=ct><data.store=auto>",
    "vae3d train data=ct data.store=sc\t": "<train><data=ct><data.store=scans>",
    "vae3d train like=sc\tli\t": "<train><like=scans/list.csv>",
    "vae3d train trainer.lr=sc\t": "<train><trainer.lr=sc>",
    "vae3d eval runs/sp\t": "<eval><runs/sp ace>",
    "vae3d eval run=runs/s\t": "<eval><run=runs/sp ace>",
}
"""Keys that are pressed, and the words with which vae3d is then called."""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_is_given_what_follows_the_equals_sign(folder: Path) -> None:
    line = "vae3d train data=c"
    program = (
        f'eval "$(vae3d completion bash)"; COMP_LINE="{line}"; COMP_POINT={len(line)}; '
        'COMP_WORDS=(vae3d train data = c); COMP_CWORD=4; _vae3d; printf "%s|" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program], env=environment(folder), capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("ct |custom |", "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vae3d tr", ["train\ttrain: a VAE"]),
        ("vae3d train data=c", ["data=ct\tCT: in HU", "data=custom\tany"]),
        ("vae3d train na", ["name=\tof the run"]),
        ("vae3d train data=ct data.root=sc", ["data.root=scans/"]),
        ("vae3d train like=scans/l", ["like=scans/list.csv"]),
        ("vae3d eval run=runs/s", ["run=runs/sp ace/"]),
        ("vae3d eval runs/c", ["runs/ct64/"]),
        ("vae3d train trainer.lr=sc", []),
    ],
)
def test_fish_is_given_whole_words(folder: Path, line: str, expected: list[str]) -> None:
    program = f"vae3d completion fish | source; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "-N", "-c", program],
        env=environment(folder), cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    found = [shown.removesuffix("\tDirectory") for shown in done.stdout.splitlines()]
    assert (sorted(found), done.stderr) == (sorted(expected), "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_in_the_language_of_their_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = answer(Small(), [shell])
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
