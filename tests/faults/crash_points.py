"""Commands that die before any of their file operations, and what they leave.

`Scenario.counted` runs a command to its end; `Scenario.crashed` lets it die before its k-th
file operation, runs the same command again, and compares everything in the folder.
"""

import builtins
import importlib
import io
import os
import pkgutil
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from tests.command_server import MODULES
from tests.conftest import ROOT

CRASHED = 137
"""The exit code of a process that died at a crash point, as that of one that was killed."""

VARYING = (
    ("*.lock", r"\A.*\Z", "the process that held the lock last, and when it began"),
    ("*/summary.json", r'"patches_per_second": [\d.]+', "how fast patches were read"),
    ("*/status.json", r'"pid": \d+', "the process that trained"),
    ("*/summary.json", r'"date": "[^"]*"', "when the evaluation was made"),
    ("*/checksums.json", r'"(summary.json|index.html)": {[^}]*}', "the hashes of these files"),
    ("*/index.html", r'"Date":"[^"]*"', "the same, on the page"),
    ("*/multirun.yaml", r"\A.*\Z", "Hydra's own record of a sweep"),
)
"""What two runs of one command may differ in: files, a pattern of their text, and the reason."""

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {
    "os.rename": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.mkdir": ((0, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "sqlite3.connect": ((0, None),),
}
"""Python's audit events of operations that change files: the arguments that hold a path, and the
descriptor of the folder that it is relative to."""


class CrashPoint:
    """Ends this process before the `at`-th operation on files below `root`.

    Python's audit events come from pathlib, shutil and C code of Python alike. Added to them are
    fsync, appended lines of which half is written, and files of libraries in C, which are cut
    in half before they are flushed.
    """

    def __init__(self, at: int, root: Path) -> None:
        self.at, self.root = at, root.resolve()
        self.count = 0

    def install(self) -> None:
        """From now on, in this process."""
        sys.addaudithook(self._hear)
        fsync, opened = os.fsync, io.open

        def flushed(descriptor: int) -> None:
            path = _opened(descriptor)
            if self._is_inside(path):
                self.reach()
            if self._is_inside(path) and path.is_file():
                self.reach(lambda: _halve(path))
            fsync(descriptor)

        def appending(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            stream = opened(file, mode, *arguments, **named)
            inside = "a" in mode and self._is_inside(file)
            return _Appended(stream, self) if inside else stream

        os.fsync = flushed
        builtins.open = io.open = appending

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if flags & WRITES and self._is_inside(path):
                self.reach()
        elif event in CHANGES:
            places = (
                (path, -1 if at is None else arguments[at])
                for path, at in ((arguments[n], at) for n, at in CHANGES[event])
            )
            if any(self._is_inside(path, place) for path, place in places):
                self.reach()

    def _is_inside(self, path: Any, folder: int = -1) -> bool:
        if isinstance(path, int):
            return False
        place = _opened(folder) if folder >= 0 else Path.cwd()
        return self.root in (place / os.fsdecode(path)).parents

    def reach(self, last: Callable[[], None] = lambda: None) -> None:
        """Count one point; if it is the one, do the `last` act and die."""
        self.count += 1
        if self.count == self.at:
            last()
            os._exit(CRASHED)


def _opened(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def _halve(path: Path) -> None:
    """Cut a file in half, without a point of its own."""
    descriptor = os.open(path, os.O_WRONLY)
    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)


class _Appended:
    """A file opened to append, whose process can die in the middle of what it writes."""

    def __init__(self, stream: Any, point: CrashPoint) -> None:
        self.stream, self.point = stream, point

    def write(self, text: Any) -> int:
        def half() -> None:
            self.stream.write(text[: len(text) // 2])
            self.stream.flush()

        self.point.reach(half)
        return int(self.stream.write(text))

    def __enter__(self) -> "_Appended":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@dataclass
class Scenario:
    """A command in a folder with its inputs, the commands before it and those after it.

    `outputs` are the names of what the command writes. `between` changes the inputs right before.
    """

    folder: Path
    command: str
    outputs: str
    before: Sequence[str] = ()
    after: Sequence[str] = ()
    between: Callable[[Path], None] = lambda folder: None

    def __post_init__(self) -> None:
        self.work, self.kept = self.folder / "work", self.folder / "kept"
        for words in self.before:
            self.run(words)
        self.between(self.work)
        self.kept.mkdir()
        for name in self.outputs.split():
            _copy(self.work / name, self.kept / name)

    def reset(self) -> None:
        """Bring the outputs back to what they were before the command."""
        for name in self.outputs.split():
            _remove(self.work / name)
            _copy(self.kept / name, self.work / name)

    def ended(self) -> dict[str, bytes]:
        """Run the commands after the command; return what is in the folder then."""
        for words in self.after:
            self.run(words)
        return snapshot(self.work)

    def counted(self) -> tuple[dict[str, bytes], int]:
        """Run the command to its end; return what is in the folder then, and its crash points."""
        self.reset()
        code = forked(self.command, self.work, CrashPoint(0, self.work))
        assert code == 0, self.said
        count = int(self.said.splitlines()[-1])
        return self.ended(), count

    def crashed(self, point: int) -> bool:
        """Let the command die at a point; return whether it did."""
        self.reset()
        return self.crash(point)

    def crash(self, point: int) -> bool:
        """Let the command die at a point, in the folder as it is; return whether it did."""
        code = forked(self.command, self.work, CrashPoint(point, self.work))
        assert code in (0, CRASHED), self.said
        return code == CRASHED

    def run(self, words: str) -> None:
        """Run a command to its end; no temporary file may remain."""
        code = forked(words, self.work)
        assert code == 0, self.said
        assert "Traceback" not in self.said, self.said
        assert not leftovers(self.work), leftovers(self.work)

    @property
    def said(self) -> str:
        """What the last command printed."""
        return log_of(self.work).read_text()


def leftovers(folder: Path) -> list[str]:
    """Return the names of all temporary files below a folder, and of journals and locks."""
    names = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(n for n in names if re.search(r"(^|/)\.(tmp|old)-|\.unfinished|-journal$", n))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder, without what VARYING names."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        content = b"" if path.is_dir() else path.read_bytes()
        for files, pattern, _ in VARYING:
            if fnmatch(f"/{name}", files):
                text = re.sub(pattern, "", content.decode(), flags=re.DOTALL)
                content = text.encode()
        found[name] = content
    return found


def differing(found: dict[str, bytes], expected: dict[str, bytes]) -> list[str]:
    """Return the names of files that differ between two snapshots, or are in one alone."""
    return sorted(n for n in {**found, **expected} if found.get(n) != expected.get(n))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy2(source, target)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def log_of(folder: Path) -> Path:
    """Return the file of what the last command in a folder printed."""
    return folder.parent / "log"


def import_all() -> None:
    """Import in this process what commands import, so that a fork starts in a moment."""
    for name in MODULES:
        importlib.import_module(name)
    commands = importlib.import_module("vae3d.commands")
    for module in pkgutil.iter_modules(commands.__path__):
        importlib.import_module(f"vae3d.commands.{module.name}")


def forked(words: str, folder: Path, point: CrashPoint | None = None) -> int:
    """Run `vae3d` with these words in a forked process and folder; return its exit code."""
    with warnings.catch_warnings():
        # Python warns of locks that other threads may hold; here no other thread holds one.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        os.setsid()
        log = os.open(log_of(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        # The parent's streams may be those of a test that captures output.
        sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1) for n in (1, 2))
        torch.set_num_threads(1)
        os.chdir(folder)
        sys.argv = [f"{ROOT}/vae3d/__main__.py", *words.split()]
        from vae3d.cli import main

        if point:
            point.install()
        code = main()
        if point:
            sys.stderr.write(f"\n{point.count}\n")
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
