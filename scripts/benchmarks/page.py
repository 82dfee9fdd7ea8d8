"""`with_table`: a result as text between two marks of a page, around which people write."""

import re
from pathlib import Path

from benchmarks.machine import machine_sentence
from benchmarks.result import Result


def section(result: Result) -> str:
    """Return what stands between the marks: where and when it was measured, and all blocks."""
    head = [f"{result.date}, commit {result.commit}, {machine_sentence(result.machine)}."]
    if result.scale != "full":
        head.append(f"**Sizes of `--{result.scale}`: an indication only.**")
    if result.changes:
        head.append(f"Changed: `{' '.join(result.changes)}`.")
    if result.peers:
        head.append(f"Peers: {', '.join(named(*peer) for peer in result.peers.items())}.")
    head.append(result.load.sentence())
    command = f"`python scripts/bench.py --only {result.name}`"
    blocks = [block.markdown() for block in result.blocks]
    return "\n\n".join([f"{command}: {' '.join(head)}", *blocks])


def named(peer: str, version: str | None) -> str:
    """Return a peer with its version, or that it is absent."""
    return f"{peer} absent" if version is None else f"{peer} {version}"


def with_table(page: str, result: Result) -> str:
    """Return a page whose section of this table is replaced, or added to its end."""
    begin, end = (f"<!-- {word} table {result.name} -->" for word in ("begin", "end of"))
    text = f"{begin}\n{section(result)}\n{end}"
    marked = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if marked.search(page):
        return marked.sub(lambda _: text, page, count=1)
    return f"{page.rstrip()}\n\n## {result.title}\n\n{text}\n"


def write_table(path: Path, result: Result) -> None:
    """Put a table into the page, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(with_table(path.read_text(encoding="utf-8"), result), encoding="utf-8")
    part.replace(path)
