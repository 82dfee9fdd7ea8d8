"""Damage of every kind to files of every kind, and paths that nobody should type."""

# ruff: noqa: E501 - tables with a case in each line

import contextlib
import gzip
import json
import os
import random
import re
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 3, 200_000_000, 2**31, 2**63, 10**400, -(2**70), 1e300, 0.5, float("nan")),
    *("", "x", "NaN", "../../outside/precious.txt", "a\nb", "a\u2028b", "\ud800", "x" * 5000, "\0"),
    *([], [0], [-1], [[[[]]]], {}, {"a": 1}, [200_000_000] * 3, {"_target_": "os.system"}),
)  # fmt: skip
"""What a leaf of a JSON file becomes."""
WORDS = (
    *(
        "-1",
        "0",
        "200000000",
        "1e400",
        "nan",
        "inf",
        "",
        "x",
        "null",
        "true",
        '"',
        "'",
        "\r",
        "\n",
    ),
    *("\x1c", "\u2028", "\x85", "\0", "[[[[", "{", ": ", "&a", "*a", "!!python/object:os.system"),
    *("9" * 5000, "x" * 200_000, ",", ",,,,", "2.5", "../../outside/precious.txt"),
)
"""What a word or a number of a text becomes."""
PATHS = (
    *("~nosuch/x", "", "x" * 300, "/".join(["x" * 200] * 30), "a\nb", "a\x85b", "\0", "a\0b"),
    *("/dev/zero", "/dev/null", "/proc/self/mem", ".", "pipe", "socket"),
    *("\udcff", "\ud800", "loop", "gone", "-", "*", "[x]", "日本", "scans/c0.nii", "scans"),
    *("list.csv", "store", "runs", "runs/run", "latents", "samples/a.npy", "store/store.json"),
)
"""Paths that take the place of others."""


def damage(path: Path, rng: random.Random) -> str:
    """Put something else in the place of a file; return what, in a word."""
    name, act = rng.choice([*ANY.items(), *OF_KIND.get(_kind(path), {}).items()])
    try:
        act(path, rng)
    except (ValueError, IndexError, KeyError, OSError, sqlite3.Error, RecursionError):
        path.unlink(missing_ok=True)
        return f"{name}, so gone"
    return name


def _kind(path: Path) -> str:
    name = path.name
    kinds = (".nii.gz", ".nii", ".npy", ".safetensors", ".json", ".jsonl", ".csv", ".yaml")
    return next((kind for kind in (*kinds, ".sqlite", ".b2nd") if name.endswith(kind)), "")


def _replaced(make: Callable[[Path], object]) -> Callable[[Path, random.Random], None]:
    def act(path: Path, _: random.Random) -> None:
        path.unlink()
        make(path)

    return act


def _bytes(
    change: Callable[[bytes, random.Random], bytes],
) -> Callable[[Path, random.Random], None]:
    def act(path: Path, rng: random.Random) -> None:
        path.write_bytes(change(path.read_bytes(), rng))

    return act


def _flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(len(changed))
        changed[place] = rng.choice(
            (rng.randrange(256), changed[place] ^ 1 << rng.randrange(8), 255)
        )
    return bytes(changed)


def _flipped_start(data: bytes, rng: random.Random) -> bytes:
    return _flipped(data[:400], rng) + data[400:]


def _zeroed(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + bytes(len(data[start : start + 4096])) + data[start + 4096 :]


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 2**40 if path.suffix != ".png" else 2**33)


def _listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name[:80])
        if path.name[:80] != path.name:
            Path(path.name[:80]).rename(path.name)


ANY: dict[str, Callable[[Path, random.Random], None]] = {
    "flipped": _bytes(_flipped),
    "flipped start": _bytes(_flipped_start),
    "zeroed": _bytes(_zeroed),
    "cut": _bytes(lambda data, rng: data[: rng.randrange(len(data))]),
    "empty": _bytes(lambda data, rng: b""),
    "longer": _bytes(lambda data, rng: data + rng.randbytes(rng.choice((1, 100, 70_000)))),
    "noise": _bytes(lambda data, rng: rng.randbytes(len(data))),
    "text": _bytes(lambda data, rng: b"<html>not found</html>\n"),
    "deep": _bytes(lambda data, rng: rng.choice((b"[", b'{"a":', b"- ")) * 100_000),
    "no UTF-8": _bytes(lambda data, rng: b"\xff\xfe" + data),
    "gone": _replaced(lambda path: None),
    "pipe": _replaced(os.mkfifo),
    "folder": _replaced(Path.mkdir),
    "socket": _replaced(_listening),
    "endless": _replaced(lambda path: path.symlink_to("/dev/zero")),
    "link to nothing": _replaced(lambda path: path.symlink_to("nothing")),
    "link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "link out": _replaced(lambda path: path.symlink_to(Path.cwd() / "outside/precious.txt")),
    "sparse": _replaced(_sparse),
}


def absurd_leaf(values: Any, rng: random.Random) -> Any:
    """Return JSON values with one of them, at any depth, replaced, removed or renamed."""
    if isinstance(values, dict) and values and rng.random() < 0.85:
        key = rng.choice([*values])
        act = rng.random()
        if act < 0.1:
            return {k: v for k, v in values.items() if k != key}
        if act < 0.15:
            return {**values, "unknown": values[key]}
        return {**values, key: absurd_leaf(values[key], rng)}
    if isinstance(values, list) and values and rng.random() < 0.7:
        place = rng.randrange(len(values))
        return [*values[:place], absurd_leaf(values[place], rng), *values[place + 1 :]]
    return rng.choice(VALUES)


def _json(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps(absurd_leaf(json.loads(path.read_text()), rng)))


def _json_line(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines()
    place = rng.randrange(len(lines))
    lines[place] = json.dumps(absurd_leaf(json.loads(lines[place]), rng))
    path.write_text("\n".join(lines) + "\n")


def _word(path: Path, rng: random.Random) -> None:
    text = path.read_text()
    for _ in range(rng.randint(1, 3)):
        words = [*re.finditer(r"[^\s,:\[\]{}]+", text)]
        match = rng.choice(words)
        text = text[: match.start()] + rng.choice(WORDS) + text[match.end() :]
    path.write_bytes(text.encode(errors="surrogatepass"))


def _lines(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines(keepends=True)
    act = rng.choice(("double", "drop", "swap", "cell"))
    place = rng.randrange(len(lines))
    if act == "double":
        lines.insert(place, lines[place])
    elif act == "drop":
        del lines[place]
    elif act == "swap":
        rng.shuffle(lines)
    else:
        lines[place] = lines[place].rstrip("\n") + ",more,cells\n"
    path.write_text("".join(lines))


def _catalog(path: Path, rng: random.Random) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        table = rng.choice(("records", "records", "cases", "about"))
        if table == "records":
            number, text = rng.choice([*database.execute("SELECT number, record FROM records")])
            changed = json.dumps(absurd_leaf(json.loads(text), rng))
            database.execute("UPDATE records SET record = ? WHERE number = ?", (changed, number))
            return
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        value = rng.choice(
            [
                v
                for v in VALUES
                if isinstance(v, int | float | str | None)
                and (not isinstance(v, int) or abs(v) < 2**63)
                and v != "\ud800"
            ]
        )
        act = rng.random()
        if act < 0.7:
            column = rng.choice(columns)
            database.execute(
                f"UPDATE OR IGNORE {table} SET {column} = ? WHERE rowid = 1", (value,)
            )
        elif act < 0.85:
            database.execute(f"DELETE FROM {table} WHERE rowid = 1")
        else:
            database.execute(f"DROP TABLE {table}")


SHAPES = (
    (0,),
    (-1, 4, 4),
    (200_000_000,) * 3,
    (2**32, 2**32),
    (2**62, 4),
    (4, 0, 4, 4),
    (2,) * 20,
    (),
)
"""Shapes that no file of a few bytes holds, or no array has."""


def _npy(path: Path, rng: random.Random) -> None:
    kind = rng.choice(
        ("<f4", "|O", "<c16", "|V0", "<U9", "<i2", "<f2", "|b1", "[('a','<f4')]", "?", "M8[s]")
    )
    kind = f"'{kind}'" if kind[0] != "[" else kind
    header = f"{{'descr': {kind}, 'fortran_order': {rng.choice((True, False, 3))}, "
    header += f"'shape': {rng.choice(SHAPES)}, }}"
    if rng.random() < 0.1:
        header = "(" * 9000
    header = header.ljust(-len(header) % 64 + len(header)) + "\n"
    version = rng.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x09"))
    size = len(header).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    path.write_bytes(
        b"\x93NUMPY" + version + size + header.encode() + bytes(rng.choice((0, 64, 512)))
    )


def _safetensors(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    values = json.loads(data[8 : 8 + size])
    about = values.get("__metadata__", {})
    if "vae3d" in about and rng.random() < 0.6:
        about["vae3d"] = json.dumps(absurd_leaf(json.loads(about["vae3d"]), rng))
    else:
        values = absurd_leaf(values, rng)
    header = json.dumps(values).encode(errors="replace")
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


def _nifti(path: Path, rng: random.Random) -> None:
    data = path.read_bytes()
    data = bytearray(gzip.decompress(data) if path.suffix == ".gz" else data)
    for _ in range(rng.randint(1, 3)):
        start, width = rng.choice(
            (
                (40, 2),
                (42, 2),
                (44, 2),
                (46, 2),
                (70, 2),
                (108, 4),
                (76, 4),
                (80, 4),
                (112, 4),
                (116, 4),
                (252, 2),
                (254, 2),
                (280, 4),
                (300, 4),
                (344, 4),
            )
        )
        data[start : start + width] = rng.choice(
            (
                bytes(width),
                b"\xff" * width,
                b"\x7f" * width,
                rng.randbytes(width),
                b"\1" + bytes(width - 1),
            )
        )
    path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else bytes(data))


def _other_shape(path: Path, rng: random.Random) -> None:
    shape = rng.choice(((1, 1, 1), (3, 5), (2, 3, 4, 5), (1, 8, 8, 8), (40, 1, 1)))
    np.save(
        path.with_suffix(".tmp.npy"),
        np.full(shape, rng.choice((0, np.nan, np.inf, 1e38)), np.float32),
    )
    shutil.move(path.with_suffix(".tmp.npy"), path)


OF_KIND: dict[str, dict[str, Callable[[Path, random.Random], None]]] = {
    ".json": dict.fromkeys(("leaf", "leaf 2", "leaf 3", "leaf 4", "leaf 5"), _json)
    | {"word": _word},
    ".jsonl": dict.fromkeys(("line", "line 2"), _json_line),
    ".csv": dict.fromkeys(("word", "word 2", "word 3"), _word)
    | {"lines": _lines, "lines 2": _lines},
    ".yaml": dict.fromkeys(("word", "word 2", "word 3", "word 4"), _word) | {"lines": _lines},
    ".sqlite": dict.fromkeys(("cell", "cell 2", "cell 3", "cell 4", "cell 5", "cell 6"), _catalog),
    ".npy": dict.fromkeys(("header", "header 2", "header 3", "header 4"), _npy)
    | {"shape": _other_shape},
    ".safetensors": dict.fromkeys(("header", "header 2", "header 3", "header 4"), _safetensors),
    ".nii": dict.fromkeys(("header", "header 2", "header 3"), _nifti),
    ".nii.gz": dict.fromkeys(("header", "header 2", "header 3"), _nifti),
}
"""Damage that knows the format; several names make it more frequent."""
