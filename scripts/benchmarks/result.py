"""`Block` and `Result`: what a table measured, as Markdown and as JSON."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.load import Load

if TYPE_CHECKING:
    from benchmarks.timing import Samples


@dataclass(frozen=True)
class Block:
    """One grid of a table: its caption, heads and rows of text.

    `samples` are the values of each contender by round, in `unit`.
    """

    caption: str
    heads: list[str]
    rows: list[list[str]]
    samples: dict[str, list[float]] = field(default_factory=dict)
    unit: str = "s"

    @classmethod
    def of(
        cls,
        caption: str,
        heads: list[str],
        rows: list[list[str]],
        samples: "Samples",
        unit: str = "s",
    ) -> "Block":
        """Return a block whose caption ends with the number of rounds."""
        rounds = f"{samples.rounds} round{'s' * (samples.rounds > 1)}"
        return cls(f"{caption}, {rounds}.", heads, rows, samples.values, unit)

    def markdown(self) -> str:
        """Return caption and grid."""
        lines = [self.heads, ["---"] * len(self.heads), *self.rows]
        padded = [[f" {cell} " if cell else " " for cell in line] for line in lines]
        return "\n".join([self.caption, "", *(f"|{'|'.join(line)}|" for line in padded)])


@dataclass(frozen=True)
class Result:
    """A measured table: where, when and beside what, and its blocks.

    `changes` are the sizes that differ from those of the scale, as `FIELD=VALUE`. `peers` are the
    versions of the packages that could take part, None for those that are absent.
    """

    name: str
    title: str
    scale: str
    changes: list[str]
    commit: str
    date: str
    machine: dict[str, Any]
    peers: dict[str, str | None]
    load: Load
    seconds: float
    blocks: list[Block]

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Result":
        """Return a result as it was before `to_json`."""
        blocks = [Block(**block) for block in data["blocks"]]
        return cls(**{**data, "load": Load(**data["load"]), "blocks": blocks})
