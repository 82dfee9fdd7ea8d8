"""Commands as text that sh, bash and zsh read back as the same words."""

import shlex
from collections.abc import Iterable


def quoted(word: str) -> str:
    """Return a word as a shell reads it back.

    `shlex.quote` is for sh; zsh also replaces a word that begins with `=` by a program's path.
    """
    return f"'='{shlex.quote(word[1:])}" if word.startswith("=") else shlex.quote(word)


def command_line(words: Iterable[str]) -> str:
    """Return the words of a command as one line to copy."""
    return " ".join(map(quoted, words))


def next_command(command: str, *words: str) -> str:
    """Return a line with what is usually typed next."""
    return f"next: {command_line(['vae3d', command, *words])}"
