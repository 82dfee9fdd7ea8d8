"""The rows of a list of cases: text with a header line, or JSON, read as named cells."""

import csv
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae3d.errors import DataError
from vae3d.files.reading import MAX_TABLE_BYTES, read_bytes
from vae3d.lists.datalists import rows_of_json
from vae3d.lists.rows import Row, Table

DELIMITERS = ",;\t"
EXPECTED = "expected a first line such as path,split and then one scan per line"


@dataclass(frozen=True)
class _Line:
    number: int
    cells: list[str]


def read_table(path: Path, channel: int | None, base: Path) -> Table:
    """Read a list: CSV with a comma, a semicolon or a tab, or JSON.

    `channel` is `data.channel`, and paths are relative to `base`: files of nnU-Net are searched
    for there.

    Raises:
        DataError: it cannot be read, or is no such list.
    """
    text = _read_text(path, "data.list", "CSV (UTF-8) or JSON")
    if path.suffix.lower() == ".json" or text.lstrip()[:1] in ("[", "{"):
        return rows_of_json(_parse_json(text, path), path, channel, base)
    return _rows_of_text(text, path)


def read_csv(path: Path, key: str) -> Table:
    """Read a CSV with a comma, a semicolon or a tab and a header; `key` is its setting.

    Raises:
        DataError: it cannot be read, or is no such table.
    """
    text = _read_text(path, key, "CSV (UTF-8)")
    return _rows_of_text(text, path, key, "expected a first line such as case_id,label")


def _read_text(path: Path, key: str, form: str) -> str:
    try:
        return read_bytes(path, MAX_TABLE_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{key}: {path} is not UTF-8 text; save it as {form}") from error
    except OSError as error:
        raise DataError(f"{key}: {path} cannot be read: {error.strerror}") from error


def _parse_json(text: str, path: Path) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            # json would keep the last one and drop the cases of the others.
            raise DataError(f"data.list: {path}: the key {twice[0]!r} is given twice; keep one")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DataError(f"data.list: {path} is not valid JSON: {error}") from error


def _rows_of_text(
    text: str, path: Path, key: str = "data.list", expected: str = EXPECTED
) -> Table:
    lines = _lines(text, path, key)
    if not lines:
        raise DataError(f"{key}: no cases in {path}; {expected}")
    header, *body = lines
    used = max((len(line.cells) for line in body), default=0)
    # Spreadsheets end each line with the delimiters of empty columns.
    while len(header.cells) > max(used, 1) and not header.cells[-1]:
        header.cells.pop()
    twice = [name for name, count in Counter(header.cells).items() if name and count > 1]
    if twice:
        raise DataError(
            f"{key}: {path}, line {header.number}: the column {twice[0]!r} is given twice; "
            "rename one of them"
        )
    return Table(
        header.cells, [_row(line, header.cells, path, key) for line in body], header.number
    )


def _lines(text: str, path: Path, key: str) -> list[_Line]:
    """Return the lines that are not blank, with stripped cells.

    Blank cells at the end of a line that have no header are left out.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    stated = first.strip()
    delimiter = _delimiter(first)
    if stated.startswith("sep=") and len(stated) == 5:
        # Excel writes this line above the header. A blank one keeps the numbers of the others.
        delimiter, text = stated[4], text.replace(first, "", 1)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    lines = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                lines.append(_Line(reader.line_num, stripped))
    except csv.Error as error:
        raise DataError(
            f"{key}: {path}, line {reader.line_num}: {error}; check the quotes"
        ) from error
    width = len(lines[0].cells) if lines else 0
    for line in lines:
        while len(line.cells) > width and not line.cells[-1]:
            line.cells.pop()
    return lines


def _delimiter(header: str) -> str:
    """Return the delimiter that is most frequent in a header, outside of quotes."""
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def _row(line: _Line, header: list[str], path: Path, key: str) -> Row:
    if len(line.cells) > len(header):
        raise DataError(
            f"{key}: {path}, line {line.number}: has {len(line.cells)} cells where the header "
            f"has {len(header)}; put cells that contain the delimiter in quotes"
        )
    cells = line.cells + [""] * (len(header) - len(line.cells))
    return Row(f"line {line.number}", dict(zip(header, cells, strict=True)))
