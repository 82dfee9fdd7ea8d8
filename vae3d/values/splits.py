"""Splits of the cases for training, validation and test."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vae3d.runtime.choices import SPLITS

Splits = dict[str, NDArray[np.int64]]
"""The indices of the cases of each split, ascending."""


def case_rank(case_id: str) -> int:
    """Return the rank of a case among all possible cases: 63 bits of a hash."""
    return int.from_bytes(hashlib.sha256(case_id.encode()).digest()[:8], "big") >> 1


RANKS = 2**63
"""Ranks are below this number."""


@dataclass(frozen=True)
class SplitRule:
    """How the cases are divided where no list does it.

    `hash` compares the rank of a case with fixed thresholds: it keeps its split whatever cases
    come or go, and a split may be empty. `count` gives each split its share of the cases present,
    at least one: a new case may move others. `fold` (K, N) makes the cases of part K of N the
    test cases, each case in exactly one part. `kind` None is `hash`, except for phantoms and what
    earlier versions made.
    """

    val_fraction: float
    test_fraction: float
    kind: str | None = None
    fold: tuple[int, int] | None = None

    def draw(self, ranks: Iterable[int], default: str = "hash") -> Splits:
        """Return the splits of cases with these ranks; cases of equal rank stay together."""
        numbers = np.fromiter(ranks, np.int64)
        if self.fold is not None:
            return self._by_fold(numbers)
        if (self.kind or default) == "count":
            return split_by_count(numbers, self.val_fraction, self.test_fraction)
        shares = numbers / RANKS
        return {
            "train": np.flatnonzero(shares >= self.test_fraction + self.val_fraction),
            "val": np.flatnonzero(
                (shares >= self.test_fraction) & (shares < self.test_fraction + self.val_fraction)
            ),
            "test": np.flatnonzero(shares < self.test_fraction),
        }

    def keeps_cases(self, default: str = "hash") -> bool:
        """Return whether a case keeps its split when others come or go."""
        return self.fold is None and (self.kind or default) == "hash"

    def _by_fold(self, numbers: NDArray[np.int64]) -> Splits:
        """Deal the ranks in ascending order to the parts; the next part gives the validation."""
        assert self.fold is not None
        fold, count = self.fold
        groups, group = np.unique(numbers, return_inverse=True)
        part = np.arange(len(groups)) % count
        others = np.flatnonzero(part != fold)
        # The parts after the test part first, so that the validation cases differ by part.
        others = others[np.argsort((part[others] - fold) % count, kind="stable")]
        val = others[: _count(self.val_fraction, len(groups), left=len(others) - 1)]
        return {
            "train": np.flatnonzero(np.isin(group, np.setdiff1d(others, val))),
            "val": np.flatnonzero(np.isin(group, val)),
            "test": np.flatnonzero(part[group] == fold),
        }


def split_by_count(ranks: NDArray[np.int64], val_fraction: float, test_fraction: float) -> Splits:
    """Return splits by the order of the ranks: equal on every machine, for any file order.

    A fraction above zero gets at least one case, as long as one case is left for training.
    """
    order = np.argsort(ranks, kind="stable")
    num_test = _count(test_fraction, len(order), left=len(order) - 1)
    num_val = _count(val_fraction, len(order), left=len(order) - 1 - num_test)
    return {
        "train": np.sort(order[num_val + num_test :]),
        "val": np.sort(order[num_test : num_test + num_val]),
        "test": np.sort(order[:num_test]),
    }


def join_copies(splits: Splits, copies: Iterable[Sequence[int]]) -> Splits:
    """Return the splits with the cases of each group of copies in the split of its first."""
    joined = {name: set(members.tolist()) for name, members in splits.items()}
    for first, *others in copies:
        for members in joined.values():
            members.difference_update(others)
            if first in members:
                members.update(others)
    return {name: np.array(sorted(members), np.int64) for name, members in joined.items()}


def splits_from_list(splits: Sequence[str | None]) -> Splits:
    """Return the splits that a list of cases specifies."""
    names = np.array(splits, dtype="U5")
    return {name: np.flatnonzero(names == name) for name in SPLITS}


def _count(fraction: float, cases: int, left: int) -> int:
    """Return the number of cases of a split, of which at most `left` are available."""
    count = max(1, round(fraction * cases)) if fraction > 0 else 0
    return min(count, left)
