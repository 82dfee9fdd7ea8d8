"""Splits of the cases for training, validation and test."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vae3d.errors import DataError
from vae3d.runtime.choices import SPLITS

Splits = dict[str, NDArray[np.int64]]
"""The indices of the cases of each split, ascending."""


def case_rank(case_id: str) -> int:
    """Return the rank of a case among all possible cases: 63 bits of the hash of its id."""
    return int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8], "big") >> 1


def split_by_rank(ranks: Iterable[int], val_fraction: float, test_fraction: float) -> Splits:
    """Return splits by the hash of the case's id: equal on every machine, for any file order.

    A fraction above zero gets at least one case, as long as one case is left for training.
    """
    order = np.argsort(np.fromiter(ranks, np.int64), kind="stable")
    num_test = _count(test_fraction, len(order), left=len(order) - 1)
    num_val = _count(val_fraction, len(order), left=len(order) - 1 - num_test)
    return {
        "train": np.sort(order[num_val + num_test :]),
        "val": np.sort(order[num_test : num_test + num_val]),
        "test": np.sort(order[:num_test]),
    }


def splits_from_list(splits: Sequence[str | None]) -> Splits:
    """Return the splits that a list of cases specifies."""
    names = np.array(splits, dtype="U5")
    return {name: np.flatnonzero(names == name) for name in SPLITS}


def check_listed_splits(case_ids: Sequence[str], splits: Sequence[str | None]) -> None:
    """Raise a DataError unless a list specifies the split of every case, or of none."""
    if not any(splits):
        return
    for case_id, split in zip(case_ids, splits, strict=True):
        if split not in SPLITS:
            raise DataError(
                f"case {case_id}: split must be one of {', '.join(SPLITS)} for every case "
                f"of the list or for none, got {split!r}"
            )


def _count(fraction: float, cases: int, left: int) -> int:
    """Return the number of cases of a split, of which at most `left` are available."""
    count = max(1, round(fraction * cases)) if fraction > 0 else 0
    return min(count, left)
