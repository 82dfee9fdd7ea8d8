"""Keep what is damaged, or in the place of a file, under another name instead of deleting it."""

import filecmp
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from vae3d.files.atomic import atomic_write


def put_aside(path: Path) -> Path:
    """Rename what is at a path to `NAME.damaged`; return the new path."""
    target = next(name for name in _names(path) if not os.path.lexists(name))
    path.rename(target)
    return target


def copy_aside(path: Path) -> Path:
    """Copy a file to `NAME.damaged`, unless there is such a copy already; return its path."""
    for target in _names(path):
        if not os.path.lexists(target):
            with atomic_write(target) as temporary:
                shutil.copyfile(path, temporary)
            return target
        if target.is_file() and filecmp.cmp(path, target, shallow=False):
            return target
    raise AssertionError("names do not end")


def _names(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.damaged")
    for number in itertools.count(2):
        yield path.with_name(f"{path.name}.damaged-{number}")
