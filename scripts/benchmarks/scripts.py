"""`script_blocks`: the tables that a script of its own prints as Markdown."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.processes import SCRIPTS, environment, source
from benchmarks.result import Block


def script_blocks(name: str, *words: str, captions: list[str]) -> list[Block]:
    """Run `scripts/NAME` of the measured checkout; return the tables that it prints.

    Raises:
        FileNotFoundError: that checkout has no such script.
    """
    script = source() / "scripts" / name
    if not script.exists():
        raise FileNotFoundError(f"{script} does not exist: this checkout has no such benchmark")
    command = [sys.executable, str(script), *words]
    done = subprocess.run(
        command, env=environment(), cwd=SCRIPTS, stdout=subprocess.PIPE, check=True, text=True
    )
    tables = [*markdown_tables(done.stdout)]
    return [block(*table, caption) for table, caption in zip(tables, captions, strict=True)]


def markdown_tables(text: str) -> Iterator[tuple[list[str], list[list[str]]]]:
    """Yield heads and rows of each table of a Markdown text."""
    lines = [*map(str.strip, text.splitlines()), ""]
    table: list[list[str]] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        # The line below the heads has dashes alone.
        if line.startswith("|") and {*line} <= set("|- :"):
            *earlier, heads = table
            if earlier:
                yield earlier[0], earlier[1:]
            table = [heads]
        elif line.startswith("|"):
            table.append(cells)
        elif table:
            yield table[0], table[1:]
            table = []


def block(heads: list[str], rows: list[list[str]], caption: str) -> Block:
    """Return a table as a block; each number is a value of its row's name and its head."""
    samples: dict[str, list[float]] = {}
    for row in rows:
        # What is no number names a row.
        name = " ".join(cell for cell in row if cell and number(cell) is None)
        for head, cell in zip(heads, row, strict=True):
            value = number(cell)
            if value is not None:
                samples.setdefault(f"{name}, {head}", []).append(value)
    return Block(caption, heads, rows, samples, "")


def number(text: str) -> float | None:
    """Return a cell as a number, or None."""
    with contextlib.suppress(ValueError):
        return float(text.replace(",", ""))
    return None
