"""Work in forks of one process, each in a copy of the repository of its own."""

import compileall
import contextlib
import importlib
import os
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import Any

import pytest

from mutation.areas import ROOT, imports_of

MEMORY = 12 * 2**30
"""Bytes that a faulty process may take."""


def import_libraries() -> None:
    """Imports what package and tests import of others, once for all forks."""
    files = [*(ROOT / "vae3d").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    names = {name for path in files for name in imports_of(path)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(names):
            if name.split(".")[0] not in ("vae3d", "tests", "vae3d2d"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


def copy_repository(folder: Path) -> Path:
    """A copy that faults are written into."""
    skip = shutil.ignore_patterns(".*", "__pycache__", "runs", "stores", "wandb", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=skip)
    # Compared by contents: two faults of one size within a second must not be taken for the same.
    mode = PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "vae3d", quiet=2, invalidation_mode=mode)
    return folder


def run_forked(
    tasks: Sequence[Any],
    slots: Sequence[Path],
    work: Callable[[Any, Path], int],
    take: Callable[[Any, Path, int], None],
    limit: Callable[[Any], int],
) -> None:
    """Calls `work(task, slot)` in a fork for each task, then `take(task, slot, status)` here.

    A status other than 0 is an error, an end by a signal, or more than `limit(task)` seconds.
    """
    free, running = [*slots], {}
    waiting: Iterator[Any] = iter(tasks)
    while True:
        for task in waiting:
            slot = free.pop()
            child = os.fork()
            if not child:
                in_fork(partial(work, task, slot), slot, limit(task))
            running[child] = task, slot
            if not free:
                break
        if not running:
            return
        child, status = os.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        task, slot = running.pop(child)
        free.append(slot)
        take(task, slot, status)


def in_fork(work: Callable[[], int], slot: Path, seconds: int) -> None:
    """Ends this process with the status that `work` returns, or by a signal when time is up."""
    status = 1
    try:
        os.setsid()
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        log = os.open(slot / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(slot)
        os.environ |= {"PYTHONPATH": str(slot), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.path.insert(0, str(slot))
        # A process that a test spawns would import this script.
        vars(sys.modules["__main__"]).pop("__file__", None)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(min(status, 255))


def run_pytest(slot: Path, arguments: Sequence[str], plugin: object) -> int:
    """The exit status of pytest in a copy; hypothesis draws the same examples each time."""
    import hypothesis

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, phases=phases
    )
    hypothesis.settings.load_profile("mutants")
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "-m",
        "not slow and not gpu and not rehearsal and not faults",
    ]
    options += ["--basetemp", str(slot.parent / f"{slot.name}.tmp"), "--rootdir", str(slot)]
    status = int(pytest.main([*options, *arguments], plugins=[plugin]))
    # No test that runs is no test that notices.
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def log_of(slot: Path) -> str:
    """The end of what the last run in a copy printed."""
    return (slot / "log").read_text(errors="replace")[-3000:]


def print_line(text: str) -> None:
    """Writes a line at once, so that a long run shows where it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
