"""Check the prose of the project against scripts/words.txt; exit with 1 where a word is found.

    python scripts/check_words.py [FILE ...]

Prose is the docstrings, comments and strings of vae3d/**/*.py, and the text of README.md,
CONTRIBUTING.md, SECURITY.md and docs/**/*.md outside of code.
"""

import ast
import fnmatch
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORDS = Path(__file__).parent / "words.txt"
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
WITHOUT = ("experiments.md", "benchmarks.md", "settings.md")
"""Pages of docs/ that keep their own words: two records, and one that is generated."""


@dataclass(frozen=True)
class Prose:
    """A piece of text and the line of its file that it begins on."""

    first: int
    text: str

    def line_of(self, position: int) -> int:
        """Return the line of the file that holds a position of the text."""
        return self.first + self.text.count("\n", 0, position)


@dataclass(frozen=True)
class Rules:
    """The words by their pattern, each with what to write instead, and their exceptions."""

    words: dict[re.Pattern[str], str]
    exceptions: list[tuple[str, re.Pattern[str]]]

    @classmethod
    def read(cls, path: Path) -> "Rules":
        """Read a list of words.

        Raises:
            ValueError: a line is neither a word, a comment nor an exception.
        """
        words: dict[re.Pattern[str], str] = {}
        exceptions: list[tuple[str, re.Pattern[str]]] = []
        in_words = True
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if text == "[exceptions]":
                in_words = False
                continue
            left, separator, right = text.partition(" -> " if in_words else ": ")
            if not separator:
                raise ValueError(f"{path}:{number}: expected PATTERN -> INSTEAD or FILE: PATTERN")
            if in_words:
                words[pattern_of(rf"\b(?:{left})\b")] = right
            else:
                exceptions.append((left, pattern_of(right)))
        return cls(words, exceptions)

    def hits(self, name: str, pieces: Iterable[Prose]) -> Iterator[tuple[int, str]]:
        """Yield the line and a message for each word of a file that should be another one."""
        allowed = [pattern for glob, pattern in self.exceptions if fnmatch.fnmatch(name, glob)]
        for piece in pieces:
            spans = [m.span() for pattern in allowed for m in pattern.finditer(piece.text)]
            for pattern, instead in self.words.items():
                for match in pattern.finditer(piece.text):
                    start, end = match.span()
                    if not any(a <= start and end <= b for a, b in spans):
                        line, word = piece.line_of(start), " ".join(match.group().split())
                        yield line, f"{name}:{line}: {word} -> {instead}"


def pattern_of(text: str) -> re.Pattern[str]:
    """Return a pattern whose spaces also match the end of a line."""
    return re.compile(text.replace(" ", r"\s+"), re.IGNORECASE)


def prose_of_python(source: str) -> Iterator[Prose]:
    """Yield the comments of a module, those on consecutive lines together, and its strings."""
    comments: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        text = token.string.lstrip("#")
        if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == token.start[0]:
            comments[-1] = comments[-1][0], f"{comments[-1][1]}\n{text}"
        else:
            comments.append((token.start[0], text))
    yield from (Prose(*comment) for comment in comments)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield Prose(node.lineno, node.value)


def prose_of_markdown(source: str) -> Iterator[Prose]:
    """Yield the text of a page without code blocks, code spans and link targets."""
    text = re.sub(r"^```.*?^```", blank, source, flags=re.MULTILINE | re.DOTALL)
    yield Prose(1, re.sub(r"`[^`]*`|\]\([^)]*\)", blank, text))


def blank(match: re.Match[str]) -> str:
    """Return a match with everything but its line breaks replaced by dots."""
    return re.sub(r".", ".", match.group())


def files() -> list[Path]:
    """Return every file whose prose is checked."""
    docs = [path for path in (ROOT / "docs").rglob("*.md") if path.name not in WITHOUT]
    pages = [ROOT / name for name in PAGES]
    return [*sorted((ROOT / "vae3d").rglob("*.py")), *pages, *sorted(docs)]


def check(paths: Sequence[Path], rules: Rules) -> list[str]:
    """Return the messages for all files, in the order of their lines."""
    messages: list[str] = []
    for path in paths:
        source = path.read_text(encoding="utf-8")
        name = path.resolve().relative_to(ROOT).as_posix()
        prose = prose_of_python if path.suffix == ".py" else prose_of_markdown
        messages.extend(message for _, message in sorted(rules.hits(name, prose(source))))
    return messages


def main(typed: Sequence[str]) -> int:
    """Print the words that should be others; return the exit code."""
    messages = check([Path(name) for name in typed] or files(), Rules.read(WORDS))
    sys.stdout.write("".join(f"{message}\n" for message in messages))
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
