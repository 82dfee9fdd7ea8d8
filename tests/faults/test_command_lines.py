"""Wrong command lines: an exit code, one line with the reason, and nothing runs."""

import contextlib
import io
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from tests.conftest import vae3d
from tests.faults.conftest import Hurry
from vae3d.cli import compose, jobs, main
from vae3d.commands import COMMANDS
from vae3d.settings.command import Command
from vae3d.settings.schema import settings_of


def words(text: str) -> list[str]:
    """The parts between bars and line ends."""
    return text.strip("\n").replace("\n", "|").split("|")


PATHS = words(r"""
a b|a=b|a,b|[x]|(x)|{x}|$x|a#b|it's|say "x"|a&b|a;b|!x|100%|a~b|~x|*|?|-x|a:b|a@b|日本語/é|1e5|true
a\b|a\|[x|(|}|a=b=c|\\|+x|++|a'b"c|/|.|..|x=[1,2]|x={y}|sub/it's, "both" = $here & [there]
""")
VALUES = words(r"""
|abc|-1|0|1|1e400|-1e400|nan|inf|1.5|true|null|[]|[1|]|[1,2,3,4,5]|[[1],[2]]|{}|{a:1}|{a|}|1,2|a,b
1,|,|'|"|''|'a|\|\'|=|==|a=b|$|${|${}|${x}|${name}|${.}|${oc.env:NOTHING}|${oc.env:HOME}|${eval:1}
${hydra:x}|${${a}}|???|é|日本| |a b|#|a#b|&|;|`x`|$(touch canary)|`touch canary`|~|*|?|!|%s|%|{0}
[[[[|range(1,3)|choice(a,b)|glob(*)|sort(1,2)|interval(0,1)|int(x)|extend_list(1)|tag(a,1)|f(x)
shuffle(1,2)|{_target_:os.system,command:'touch canary'}|../../etc/passwd|/dev/null|1_000|0x10
""")
VALUES += ["\x00", "\n", "\t", "|", "9" * 400, "x" * 500]
WORDS = words(r"""
-m|--multirun|--cfg|--cfg=job|--cfg=jobs|--cfg=|-c|--info|--info=nothing|--package|--package=x|-sc
--resolve|--hydra-help|-x|--hydra-hlep|--version|--config-dir|--config-dir=nowhere|--config-name
-cn=x|--config-path=nowhere|--config-name=nothing|--shell-completion|-sc=install|--experimental-rerun
--experimental-rerun=x.pickle|--|-|--=|=|==|=1|~|~data|~model|~nothing|+|++|+=|@|a@b=c|data@x=ct
hydra/x=y||hydra.verbose=x|hydra.job.name=|hydra/launcher=none|hydra/sweeper=none|+experiment=x
_target_=os.system|+_target_=os.system|+data._target_=os.system|++model._target_=os.system|a b|é
+command='touch canary'|$(touch canary)|; touch canary|data=ct,mri
""")
GROUPS = ("data", "patching", "model", "loss", "trainer", "evaluation", "logger", "experiment")


@dataclass
class Lines:
    """Runs command lines in this process; what each command would do is only noted."""

    hurry: Hurry
    settings: list[Any] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def __call__(self, *arguments: str) -> str:
        """The text on stderr; the exit code must be 0, or 2 with one line of reason."""
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        sys.argv = ["vae3d", *arguments]
        out, err = io.StringIO(), io.StringIO()
        shown = repr(arguments)[:600]
        with self.hurry(shown), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: Any = main()
            except SystemExit as end:
                code = end.code or 0
        said = err.getvalue()
        assert code in (0, 2), (shown, code, said)
        assert "Traceback" not in said, (shown, said)
        if code:
            assert said.startswith("vae3d: "), (shown, said)
            assert said.count("\n") == 1, (shown, said)
            assert said.endswith("\n"), (shown, said)
        self.seen["refused" if code else "accepted"] += 1
        return said

    def note(self, command: Command, settings: Any) -> Path:
        """Stands in the place of every command."""
        self.settings.append(settings)
        return Path("runs/nothing")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, hurry: Hurry) -> Lines:
    """A Lines that leaves no trace in this process."""
    lines = Lines(hurry)
    # Once is enough, and takes a third of the time of a command line that is refused.
    for command in COMMANDS.values():
        compose.register_schemas(command)
    monkeypatch.setattr(compose, "register_schemas", lambda command: None)
    monkeypatch.setattr(jobs, "call", lines.note)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["vae3d"])
    return lines


def mistyped(word: str, rng: np.random.Generator) -> str:
    """The word with a letter lost, doubled, swapped or added."""
    place = int(rng.integers(len(word)))
    edits: list[Callable[[], str]] = [
        lambda: word[:place] + word[place + 1 :],
        lambda: word[:place] + word[place] + word[place:],
        lambda: word[:place] + word[place + 1 : place + 2] + word[place] + word[place + 2 :],
        lambda: word[:place] + str(rng.choice([*".=,[]{}'\"$@~+é_0 -"])) + word[place:],
        lambda: word,
    ]
    return edits[rng.integers(len(edits))]()


def fuzzed(name: str, rng: np.random.Generator) -> list[str]:
    """A command with one to three arguments that it may not understand."""
    keys = [*(setting.key for setting in settings_of(COMMANDS[name])), *GROUPS]

    def argument() -> str:
        kind = rng.integers(4)
        if kind == 0:
            return str(WORDS[rng.integers(len(WORDS))])
        key = str(rng.choice(keys))
        if kind == 1:
            key = mistyped(key, rng)
        prefix = str(rng.choice(["", "", "", "+", "++", "~"]))
        return f"{prefix}{key}={VALUES[rng.integers(len(VALUES))]}"

    return [name, *(argument() for _ in range(rng.integers(1, 4)))]


@pytest.mark.parametrize(
    "count", [120, pytest.param(5000, marks=pytest.mark.faults)], ids=["fast", "nightly"]
)
def test_no_command_line_ends_in_a_traceback(lines: Lines, tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    for number in range(count):
        lines(*fuzzed([*COMMANDS][number % len(COMMANDS)], rng))
    assert lines.seen["refused"] > count / 2
    # Of a sweep that begins, Hydra notes the settings.
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written <= {"multirun.yaml"}, "nothing may be written or run"


@pytest.mark.parametrize("paths", [*itertools.zip_longest(PATHS[::2], PATHS[1::2], fillvalue="x")])
def test_paths_arrive_as_they_were_typed(lines: Lines, paths: tuple[str, str]) -> None:
    root, output = paths
    assert lines("inspect", "data=mri", f"data.root={root}", f"output={output}") == ""
    (settings,) = lines.settings
    assert (settings.data.root, settings.output) == paths


@pytest.mark.parametrize("key", ["store", "root", "list"])
def test_null_is_no_path(lines: Lines, key: str) -> None:
    lines("inspect", "data=mri", f"data.{key}=null")
    assert getattr(lines.settings[0].data, key) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["--nothing"], "unrecognized arguments: --nothing"),
        (["count=2", "--", "--info"], "unrecognized arguments: --"),
        (["--experimental-rerun", "x.pickle"], "would run a pickled file"),
        (["data.count=${nothing}"], "data.count: Interpolation key 'nothing' not found"),
        (["+="], "look for a stray"),
        (["data=${.}"], "look for a stray"),
        (["--config-dir", "nowhere"], "nowhere"),
        (["data.count=4\x1b[2J"], "data.count"),
    ],
)
def test_what_hydra_would_answer_at_length(lines: Lines, arguments: list[str], said: str) -> None:
    line = lines("inspect", *arguments)
    assert said in line
    assert line[:-1].isprintable()


def test_words_of_hydra_may_stand_anywhere(lines: Lines) -> None:
    for place in range(3):
        arguments = ["count=2,3", "data.count=4"]
        arguments.insert(place, "-m")
        lines.settings.clear()
        assert lines("inspect", *arguments) == ""
        assert [settings.count for settings in lines.settings] == [2, 3]


@pytest.mark.parametrize(
    ("count", "nightly"),
    [(5, False), pytest.param(100, True, marks=pytest.mark.faults)],
    ids=["fast", "nightly"],
)
def test_processes_end_alike(tmp_path: Path, count: int, nightly: bool) -> None:
    rng = np.random.default_rng(0)
    while count:
        # `info` of what happens to be right takes no time, and writes nothing.
        arguments = [word for word in fuzzed("info", rng) if "\x00" not in word]
        done = vae3d(*arguments, cwd=tmp_path, fresh=nightly)
        assert done.returncode in (0, 2), (arguments, done.stderr)
        assert "Traceback" not in done.stderr, (arguments, done.stderr)
        if done.returncode:
            assert done.stderr.startswith("vae3d: "), (arguments, done.stderr)
            assert done.stderr.count("\n") == 1, (arguments, done.stderr)
        count -= 1
    assert not [*tmp_path.iterdir()], "nothing may be written or run"
