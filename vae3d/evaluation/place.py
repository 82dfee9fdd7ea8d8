"""Where the report of an evaluation goes: that of other data does not replace the run's own."""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from vae3d.data.config import CaseData, DataConfig
from vae3d.data.run_cases import RunCases
from vae3d.files.paths import resolved
from vae3d.values.identity import ScanIdentity

CONTENT = (
    *("root", "list", "include", "exclude", "label_maps", "channel", "spacing"),
    *("window", "percentiles", "nonfinite", "shape", "count", "seed", "dataset", "options"),
)
"""Settings that decide which cases there are, and what they hold."""


def is_same_data(data: CaseData, trained: DataConfig) -> bool:
    """Return whether settings name the data of a training, however the path is written."""
    keys = ("root", "list", "include", "exclude", "count", "shape", "seed", "dataset")
    return type(data) is type(trained) and all(
        _resolved(getattr(data, key, None)) == _resolved(getattr(trained, key, None))
        for key in keys
    )


def are_run_cases(scored: Iterable[tuple[str, ScanIdentity | None]], record: RunCases) -> bool:
    """Return whether all cases (name, identity) are known to be scans of the run."""
    found = [(identity, record.find(case_id, identity)) for case_id, identity in scored]
    return all(identity and case and case.voxels for identity, case in found)


def label_of_data(
    data: CaseData, scored: Collection[tuple[str, ScanIdentity | None]], notes: Collection[str]
) -> str:
    """Return `label-hash` of data: a name for people, and eight digits that differ with them.

    Data without a path, such as a Dataset in Python, are known by their cases. `notes` are
    sentences on how they were read otherwise than in the training.
    """
    values = dataclasses.asdict(data)
    kept = {key: values[key] for key in CONTENT if key in values}
    kept |= {key: _resolved(kept[key]) for key in ("root", "list") if kept.get(key)}
    place = kept.get("root") or kept.get("list")
    cases = [] if place else [(name, str(identity)) for name, identity in scored]
    text = json.dumps([type(data).__name__, kept, cases, [*notes]], sort_keys=True, default=str)
    kind = type(data).__name__.removesuffix("Config").lower()
    label = re.sub(r"[^\w.-]", "_", place.name.partition(".")[0] if place else kind)
    return f"{label}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def _resolved(value: Any) -> Any:
    """Return a path without links and dots, however it was written."""
    # It may be the home of a user of another machine, which Path.expanduser refuses.
    return resolved(Path(os.path.expanduser(value))) if isinstance(value, str) else value  # noqa: PTH111
