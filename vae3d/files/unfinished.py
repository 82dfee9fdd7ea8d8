"""`OutputRecord`: which files of an output a command wrote, and from what.

By it the same command resumes after a kill, writes again what was made from another input, and
ends without work if it had finished.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vae3d.errors import ConfigError, DataError
from vae3d.files.atomic import write_json
from vae3d.files.checksums import Sum
from vae3d.files.plain import from_plain
from vae3d.files.reading import MAX_TABLE_BYTES, read_text

UNFINISHED, FINISHED = ".unfinished", ".finished"
STATES = ABSENT, KEPT, STALE, FOREIGN = "absent", "kept", "stale", "foreign"
FORMAT = 1


@dataclass(frozen=True)
class Origin:
    """What a file is made from: the digests of a command with its settings, and of its input.

    `sum` is that of the file, None until the command has finished.
    """

    command: str
    input: str
    sum: Sum | None = None


@dataclass(frozen=True)
class OutputRecord:
    """The record of an output folder, or of a single output file, next to it.

    A file `.unfinished` exists while a command writes, and after it was killed; `.finished` is
    what its end leaves.
    """

    place: Path
    is_file: bool

    @property
    def unfinished(self) -> Path:
        """The record of the files that a command writes."""
        return self._path(UNFINISHED)

    @property
    def finished(self) -> Path:
        """The record of the files of commands that ended."""
        return self._path(FINISHED)

    def _path(self, suffix: str) -> Path:
        place = self.place
        return place.with_name(f".{place.name}{suffix}") if self.is_file else place / suffix

    @cached_property
    def begun(self) -> dict[str, Origin]:
        """The files that a command which did not end was to write, by name."""
        return _read(self.unfinished)

    @cached_property
    def ended(self) -> dict[str, Origin]:
        """The files of commands that ended, by name."""
        return _read(self.finished)

    def plan(self, origins: Mapping[Path, Origin], existing: str) -> "OutputPlan":
        """Return which files are to be written; `existing` decides about those that exist.

        With `fail` the files that this command wrote from the same inputs are kept, and those that
        it wrote from other inputs before it was killed are written again. `skip` keeps all files,
        `replace` none.

        Raises:
            DataError: with `fail`, another file exists.
        """
        found = {file: self._state(file, origin) for file, origin in origins.items()}
        foreign = [file for file, state in found.items() if state == FOREIGN]
        if foreign and existing == "fail":
            raise DataError(
                f"{min(foreign)}: exists already; existing=skip keeps such files, "
                "existing=replace overwrites them"
            )
        redone = {"fail": (ABSENT, STALE), "skip": (ABSENT,), "replace": STATES}[existing]
        due = [file for file, state in found.items() if state in redone]
        kept = [file for file, state in found.items() if state == KEPT]
        stale = [file for file in due if found[file] == STALE and existing == "fail"]
        return OutputPlan(origins, due, kept, stale)

    def _state(self, file: Path, origin: Origin) -> str:
        """Return whether a file is absent, or what the command writes from this input (kept).

        It is stale if the same command, which did not end, wrote it from another input. Any other
        file is foreign.
        """
        if not file.exists():
            return ABSENT
        begun, ended = self.begun.get(file.name), self.ended.get(file.name)
        if begun == origin or (ended and ended == replace(origin, sum=_sum_of(file))):
            return KEPT
        return STALE if begun and begun.command == origin.command else FOREIGN

    def begin(self, plan: "OutputPlan") -> None:
        """Remove stale files, and record those that the command writes, or wrote before."""
        for file in plan.stale:
            file.unlink()
        # A file that is replaced is none of this command until it is written.
        own = {*plan.kept, *(file for file in plan.due if not file.exists())}
        _write(self.unfinished, {f.name: o for f, o in plan.origins.items() if f in own})

    def end(self, plan: "OutputPlan") -> None:
        """Record the files as finished, and those of earlier commands that still exist."""
        folder = self.finished.parent
        known = {name: o for name, o in self.ended.items() if (folder / name).is_file()}
        for file in (*plan.kept, *plan.due):
            known.pop(file.name, None)
            if sum_ := _sum_of(file):
                known[file.name] = replace(plan.origins[file], sum=sum_)
        if known:
            _write(self.finished, known)
        self.drop()

    def drop(self) -> None:
        """Forget that the command began."""
        self.unfinished.unlink(missing_ok=True)


@dataclass(frozen=True)
class OutputPlan:
    """What a command does with its files: those to write, to keep, and to remove at its begin."""

    origins: Mapping[Path, Origin]
    due: list[Path]
    kept: list[Path]
    stale: list[Path]


def _sum_of(file: Path) -> Sum | None:
    """Return the sum of a file; None if there is none, or it is larger than sums allow."""
    with contextlib.suppress(OSError):
        return Sum.of(file)
    return None


def _read(path: Path) -> dict[str, Origin]:
    """Return the files that a record names; none if it is missing or damaged."""
    try:
        text = read_text(path, MAX_TABLE_BYTES, linked=False)
        values = from_plain(dict[str, Any], json.loads(text))
        if values.get("format") != FORMAT:
            return {}
        origins: dict[str, Origin] = from_plain(dict[str, Origin], values.get("files"), "files")
    except (OSError, ValueError, RecursionError, ConfigError, TypeError):
        return {}
    return {name: origin for name, origin in origins.items() if name == Path(name).name}


def _write(path: Path, origins: Mapping[str, Origin]) -> None:
    files = {name: asdict(origins[name]) for name in sorted(origins)}
    write_json(path, {"format": FORMAT, "files": files})


def digest_of(settings: Any, *inputs: Path | str | None) -> str:
    """Return the SHA-256 of settings, and of place, size and times of files.

    Of a folder these are the files directly in it and in its `cases`.
    """
    values = {**asdict(settings), "existing": None}
    return _digest([values, stamp_of(*inputs)])


def stamp_of(*inputs: Path | str | None) -> str:
    """Return the SHA-256 of place, size and times of files, as `digest_of`."""
    paths = [file for path in inputs if path is not None for file in _files(Path(path))]
    known = []
    for path in sorted({*paths}):
        status = path.stat()
        facts = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        known.append([str(path.absolute()), *facts])
    return _digest(known)


def _digest(value: Any) -> str:
    text = json.dumps(value, default=str)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _files(path: Path) -> Iterable[Path]:
    files = [*path.iterdir(), *path.glob("cases/??/*")] if path.is_dir() else [path]
    return (file for file in files if file.is_file() and file.name[0] != ".")
