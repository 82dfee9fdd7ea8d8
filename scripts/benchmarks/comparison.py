"""`compare`: the rows of two checkouts, measured alternately on one machine."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.result import Block, Result
from benchmarks.runs import Runs

MORE_IS_BETTER = "/s"
"""What units have of which more is better; of all others less is."""


@dataclass(frozen=True)
class Row:
    """A contender's values in two checkouts."""

    name: str
    unit: str
    now: list[float]
    earlier: list[float]

    @property
    def slower(self) -> bool:
        """Whether the median is worse by more than the earlier values spread."""
        now, earlier = median(self.now), median(self.earlier)
        # The columns of a script's table have no common unit, but their heads name it.
        more = (self.unit or self.name).find(MORE_IS_BETTER) >= 0
        worse = earlier - now if more else now - earlier
        # A value below the resolution of its clock is compared with nothing.
        return earlier > 0 and worse > max(self.earlier) - min(self.earlier)

    def cells(self) -> list[str]:
        """Return name, medians, ratio, the spread of the earlier values, and a verdict."""
        now, earlier = median(self.now), median(self.earlier)
        spread = (max(self.earlier) - min(self.earlier)) / earlier if earlier else 0.0
        ratio = f"{now / earlier:.2f}" if earlier else ""
        verdict = "**slower**" if self.slower else ""
        return [
            self.name,
            f"{earlier:.4g} {self.unit}",
            f"{now:.4g} {self.unit}",
            ratio,
            f"{spread:.0%}",
            verdict,
        ]


def median(values: list[float]) -> float:
    """Return the median, without importing what start-up would pay for."""
    ordered, middle = sorted(values), len(values) // 2
    return (ordered[middle] + ordered[~middle]) / 2


def compare(
    names: list[str], now: Runs, earlier: Runs, repeats: int, show: Callable[[str], None]
) -> int:
    """Measure each table of both `repeats` times; show the rows; return an exit code."""
    failed = False
    for name in names:
        pairs: list[tuple[Result, Result]] = []
        for number in range(repeats):
            order = (now, earlier) if number % 2 == 0 else (earlier, now)
            results = {runs.source: runs.measure(name) for runs in order}
            first, second = results[now.source], results[earlier.source]
            if first is None or second is None:
                failed = True
                break
            pairs.append((first, second))
        if pairs:
            show(shown(name, pairs))
    return int(failed)


def shown(name: str, pairs: list[tuple[Result, Result]]) -> str:
    """Return the comparison of a table as Markdown."""
    heads = ["", "earlier", "now", "ratio", "spread of the earlier rounds", ""]
    found = [row.cells() for row in rows(pairs)]
    commits = f"{pairs[0][1].commit} and {pairs[0][0].commit}"
    # The busiest of all measurements speaks for them.
    load = max((one.load for pair in pairs for one in pair), key=lambda load: load.during or 0.0)
    caption = f"{name}, {commits}, {len(pairs)} times alternating. {load.sentence()}"
    return Block(caption, heads, found).markdown()


def rows(pairs: list[tuple[Result, Result]]) -> Iterator[Row]:
    """Yield the contenders that both checkouts have, with the values of all repeats."""
    for index, block in enumerate(pairs[0][0].blocks):
        for name in block.samples:
            sides: tuple[list[float], list[float]] = ([], [])
            for pair in pairs:
                for values, result in zip(sides, pair, strict=True):
                    if index < len(result.blocks):
                        values += result.blocks[index].samples.get(name, [])
            if all(sides):
                yield Row(name, block.unit, *sides)
