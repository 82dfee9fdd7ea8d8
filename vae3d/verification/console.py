"""A verification as lines of text."""

from collections import Counter
from collections.abc import Iterator

from vae3d.errors import DamageError, UnfinishedError
from vae3d.runtime.messages import counted
from vae3d.verification.findings import (
    CHANGED,
    DAMAGED,
    FAULTS,
    MISSING,
    UNFINISHED,
    UNKNOWN,
    UNREADABLE,
    WHOLE,
)
from vae3d.verification.folder import Verification

MAX_NAMED = 8
WAYS = {
    DAMAGED: "damaged: write or copy them again",
    MISSING: "missing: bring them back (if you removed text files, accept=true)",
    UNREADABLE: "unreadable: ask for the right to read them",
    CHANGED: "changed since vae3d wrote them: if you did, accept=true takes them as they are",
    UNFINISHED: "unfinished: the same command resumes them",
}
"""What to do about files of a state."""


def lines(result: Verification) -> Iterator[str]:
    """Yield what was checked, each file that is not whole, and what has no checksum."""
    kinds = ", ".join(counted(n, kind) for kind, n in result.kinds.items())
    files = result.counts
    yield f"{result.folder}: {kinds}"
    for state in (*FAULTS, UNFINISHED):
        for finding in result.of(state):
            yield _printable(f"{state}: {finding.path}: {finding.reason}")
    for finding in result.of(UNKNOWN):
        if finding.reason:
            yield _printable(f"{UNKNOWN}: {finding.path}: {finding.reason}")
    unknown = [finding for finding in result.of(UNKNOWN) if not finding.reason]
    if unknown:
        # A name, or the suffix of names that differ from case to case.
        names = Counter(
            f"*{finding.path.suffix}" if finding.path.parent.name == "cases" else finding.path.name
            for finding in unknown
        )
        listed = [f"{name} ({n})" if n > 1 else name for name, n in names.most_common(MAX_NAMED)]
        more = ", ..." if len(names) > MAX_NAMED else ""
        yield _printable(f"{UNKNOWN}: {counted(len(unknown), 'file')}: {', '.join(listed)}{more}")
    yield f"{WHOLE}: {counted(files[WHOLE], 'file')}"


def refuse(result: Verification) -> None:
    """Say in one line what is not whole, and what to do.

    Raises:
        DamageError: files are damaged, missing or unreadable, or were changed.
        UnfinishedError: all are whole, but a command did not end.
    """
    parts = []
    for state, way in WAYS.items():
        if count := result.counts[state]:
            noun = "folder" if state == UNFINISHED else "file"
            parts.append(f"{counted(count, noun)} {way}")
    if parts:
        error = UnfinishedError if result.is_whole else DamageError
        raise error(f"{result.folder}: {'; '.join(parts)}")


def _printable(text: str) -> str:
    # Names of files may hold characters that move the cursor.
    return "".join(c if c.isprintable() else "?" for c in text)
