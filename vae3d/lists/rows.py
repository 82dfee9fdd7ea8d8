"""`Row` and `Table`: the cells of a list of cases, before its columns are understood."""

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Row:
    """The cells of one case by column; `place` is where it is listed, such as `line 3`.

    `stated` is a split that the place itself states, as the section of a datalist does.
    """

    place: str
    cells: dict[str, str]
    stated: str | None = None


@dataclass(frozen=True)
class Table:
    """The columns of a list in their order, and its rows.

    `header` is the number of the header's line, or None if the list has no such line.
    """

    columns: list[str]
    rows: list[Row]
    header: int | None = None


class Listing(Protocol):
    """Settings that name a list of scans, as those of `data=ct` do."""

    root: str | None
    list: str | None
    channel: int | None
    group: str | None

    @property
    def group_pattern(self) -> re.Pattern[str] | None:
        """The pattern in `group`, None if it is no pattern."""
