"""Sentences on the scans of a folder that are no cases, from their names and reasons."""

from collections.abc import Iterator, Mapping

LABEL_MAP = "a label map"
"""How the reasons for label maps begin."""


def summary(left_out: Mapping[str, str]) -> str:
    """Return one line on the scans that are left out, at least one, and how to keep them."""
    name, reason = next(iter(left_out.items()))
    labels = sum(reason.startswith(LABEL_MAP) for reason in left_out.values())
    what = "label map" if labels == len(left_out) else "scan"
    counted = f"{len(left_out)} {what}{'s' * (len(left_out) > 1)}"
    way = "; data.label_maps=keep keeps label maps" if labels else ""
    return f"left out {counted}, such as {name} ({reason}){way}; vae3d inspect lists them"


def listed(left_out: Mapping[str, str], count: int) -> Iterator[str]:
    """Yield a line for each of the first `count` scans left out, and one on the rest."""
    for name, reason in [*left_out.items()][:count]:
        yield f"left out: {name}: {reason}"
    if len(left_out) > count:
        yield f"{len(left_out) - count} more scans are left out; cases.csv lists all of them"


def table(left_out: Mapping[str, str], columns: int) -> list[list[str]]:
    """Return a row of cells for each scan that is left out, the reason in the last one."""
    blank = [""] * (columns - 2)
    return [[name, *blank, f"left out: {reason}"] for name, reason in left_out.items()]
