"""Lists of cases in JSON: plain lists, datalists of MONAI, and dataset.json of nnU-Net."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from vae3d.errors import DataError
from vae3d.lists.columns import ROLE_OF, SPLIT_WORDS, squash
from vae3d.lists.rows import Row, Table
from vae3d.scans.formats import scan_suffix

log = logging.getLogger(__name__)

EXPECTED = (
    'expected a list of objects, as [{"path": "a.nii.gz", "split": "train"}], or a datalist, '
    'as {"training": [{"image": "a.nii.gz"}], "validation": [], "test": []}'
)
_ABOUT = (
    "name description reference licence license release tensorimagesize modality labels "
    "numtraining numtest numvalidation channelnames fileending regionsclassorder "
    "overwriteimagereaderwriter author citation version date url"
)
ABOUT = frozenset(_ABOUT.split())
"""Keys of a datalist that describe its data and hold no cases."""
FOLDERS = {"imagesTr": "train", "imagesTs": "test"}
"""Folders of nnU-Net, whose dataset.json of version 2 names no files."""


def rows_of_json(content: Any, path: Path, channel: int | None, base: Path) -> Table:
    """Return the rows of the content of a JSON file; `channel` is `data.channel`.

    Raises:
        DataError: it is no such list, or each case has several channels.
    """
    if isinstance(content, list):
        return _table([_row(item, f"entry {n}", path) for n, item in enumerate(content, 1)])
    if not isinstance(content, dict):
        raise DataError(f"data.list: {path} holds no cases; {EXPECTED}")
    channels = content.get("channel_names") or content.get("modality")
    if isinstance(channels, dict | list) and len(channels) > 1 and channel is None:
        names = channels.values() if isinstance(channels, dict) else channels
        raise DataError(
            f"data.list: {path}: each case has {len(channels)} channels "
            f"({', '.join(map(str, names))}), but one is needed; write a list with the files of "
            "one channel, or choose a component of 4D files with data.channel"
        )
    rows = _sections(content, path)
    if not rows and "channel_names" in content:
        rows = _nnunet_rows(content, path, base)
    if not rows:
        raise DataError(f"data.list: no cases in {path}; {EXPECTED}")
    if channels:
        rows = [_on_disk(row, base, path) for row in rows]
    return _table(rows if _states_splits(content, rows) else _unstated(rows, path))


def _sections(content: dict[str, Any], path: Path) -> list[Row]:
    rows: list[Row] = []
    for key, value in content.items():
        split = SPLIT_WORDS.get(squash(key))
        if split and isinstance(value, list):
            rows += [_row(item, f"{key}[{n}]", path, split) for n, item in enumerate(value)]
        elif squash(key) == "dataset" and isinstance(value, dict) and value:
            rows += [_nnunet_case(name, case, path) for name, case in value.items()]
        elif split or (isinstance(value, list | dict) and squash(key) not in ABOUT):
            raise DataError(f"data.list: {path}: unknown key {key!r}; {EXPECTED}")
    return rows


def _row(item: Any, place: str, path: Path, stated: str | None = None) -> Row:
    """Return the row of an object, or of a path as a string."""
    if isinstance(item, str):
        item = {"path": item}
    if not isinstance(item, dict):
        raise DataError(
            f"data.list: {path}, {place}: expected an object with a path, got {json.dumps(item)}"
        )
    cells = {key.strip(): _cell(key.strip(), value, place, path) for key, value in item.items()}
    return Row(place, cells, stated)


def _cell(key: str, value: Any, place: str, path: Path) -> str:
    """Return a value as text; null is empty."""
    role = ROLE_OF.get(squash(key))
    if isinstance(value, list) and len(value) == 1 and role:
        value = value[0]
    if role == "path" and isinstance(value, list) and value:
        raise DataError(
            f"data.list: {path}, {place}, {key!r}: has {len(value)} files, but a case needs one; "
            "write a list with the files of one channel"
        )
    if role and (isinstance(value, bool | list | dict) or (role == "path" and not value)):
        expected = "the path of a scan" if role == "path" else "text or a number"
        raise DataError(
            f"data.list: {path}, {place}, {key!r}: expected {expected}, got {json.dumps(value)}"
        )
    return "" if value is None else str(value).strip()


def _nnunet_case(name: str, case: Any, path: Path) -> Row:
    images = case.get("images") if isinstance(case, dict) else None
    row = _row({"path": images}, f"dataset[{name!r}]", path, "train")
    return replace(row, cells={**row.cells, "case_id": name})


def _nnunet_rows(content: dict[str, Any], path: Path, base: Path) -> list[Row]:
    """Return the rows of the files that a dataset.json of version 2 stands for."""
    ending = str(content.get("file_ending", ".nii.gz"))
    files = [
        (file.relative_to(base).as_posix(), split)
        for folder, split in FOLDERS.items()
        for file in sorted((base / folder).glob("*"))
        if file.name.endswith(f"_0000{ending}") and not file.name.startswith(".")
    ]
    if not files:
        raise DataError(
            f"data.list: {path} names no files, and no *_0000{ending} were found in "
            f"{base / 'imagesTr'}; set data.root to the folder that has imagesTr"
        )
    return [Row(file, {"path": file}, split) for file, split in files]


def _on_disk(row: Row, base: Path, path: Path) -> Row:
    """Return a row whose path is that of the file: nnU-Net lists `a` for `a_0000`."""
    column = next((name for name in row.cells if ROLE_OF.get(squash(name)) == "path"), None)
    if column is None:
        return row
    listed = row.cells[column]
    suffix = scan_suffix(listed) or ""
    stem = listed[: len(listed) - len(suffix)]
    first = f"{stem}_0000{suffix}" if not (base / listed).exists() else listed
    if first == listed or not (base / first).exists():
        return row
    if (base / f"{stem}_0001{suffix}").exists():
        raise DataError(
            f"data.list: {path}, {row.place}: {listed} has several channels ({stem}_0000, "
            f"{stem}_0001), but one is needed; write a list with the files of one channel"
        )
    return replace(row, cells={**row.cells, column: first})


def _states_splits(content: dict[str, Any], rows: list[Row]) -> bool:
    """Return whether a datalist states splits, and does not just call all cases training."""
    validation = any(SPLIT_WORDS.get(squash(key)) == "val" for key in content)
    own = any(ROLE_OF.get(squash(name)) == "split" for row in rows for name in row.cells)
    return own or validation or any(row.stated != "train" for row in rows)


def _unstated(rows: list[Row], path: Path) -> list[Row]:
    log.info(
        f"data.list: {path} lists training cases alone, of which some are held out for validation "
        'and test; add "validation" and "test" to choose them'
    )
    return [replace(row, stated=None) for row in rows]


def _table(rows: list[Row]) -> Table:
    paths = [[name for name in row.cells if ROLE_OF.get(squash(name)) == "path"] for row in rows]
    if all(len(names) == 1 for names in paths):
        # The test section of nnU-Net has plain paths where the others have {"image": path}.
        common = paths[0][0] if paths else "path"
        rows = [
            replace(row, cells={common: row.cells[name]} | _without(row.cells, name))
            for row, (name,) in zip(rows, paths, strict=True)
        ]
    return Table([*dict.fromkeys(key for row in rows for key in row.cells)], rows)


def _without(cells: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in cells.items() if key != name}
