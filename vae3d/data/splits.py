"""Cases to train, validate and test with."""

import hashlib

from vae3d.errors import DataError

SPLITS = ("train", "val", "test")


def split_cases(
    case_ids: list[str],
    assigned: list[str | None],
    val_fraction: float,
    test_fraction: float,
) -> dict[str, list[int]]:
    """Indices of the cases of each split.

    Where a list assigns every case, as it says. Else by the hash of the case's name: the same on
    every machine, whatever the order of the files. A fraction above zero gets at least one case
    as long as one is left to train on.
    """
    if any(assigned):
        return _as_assigned(case_ids, assigned)
    order = sorted(range(len(case_ids)), key=lambda i: _rank(case_ids[i]))
    num_test = _count(test_fraction, len(order), left=len(order) - 1)
    num_val = _count(val_fraction, len(order), left=len(order) - 1 - num_test)
    return {
        "train": sorted(order[num_val + num_test :]),
        "val": sorted(order[num_test : num_test + num_val]),
        "test": sorted(order[:num_test]),
    }


def _as_assigned(case_ids: list[str], assigned: list[str | None]) -> dict[str, list[int]]:
    for case_id, split in zip(case_ids, assigned, strict=True):
        if split not in SPLITS:
            raise DataError(
                f"case {case_id}: split must be one of {', '.join(SPLITS)} for every case "
                f"of the list or for none, got {split!r}"
            )
    return {name: [i for i, split in enumerate(assigned) if split == name] for name in SPLITS}


def _rank(case_id: str) -> str:
    return hashlib.sha256(case_id.encode()).hexdigest()


def _count(fraction: float, cases: int, left: int) -> int:
    wanted = max(1, round(fraction * cases)) if fraction > 0 else 0
    return min(wanted, left)
