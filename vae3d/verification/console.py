"""A verification as lines of text."""

from collections import Counter
from collections.abc import Iterator

from vae3d.runtime.messages import counted
from vae3d.verification.findings import CHANGED, DAMAGED, UNKNOWN, WHOLE
from vae3d.verification.folder import Verification

MAX_NAMED = 8


def lines(result: Verification) -> Iterator[str]:
    """Yield what was checked, each file that is not whole, and what has no checksum."""
    kinds = ", ".join(counted(n, kind) for kind, n in result.kinds.items())
    files = result.counts
    yield f"{result.folder}: {kinds}"
    for state in (DAMAGED, CHANGED):
        for finding in result.of(state):
            yield _printable(f"{state}: {finding.path}: {finding.reason}")
    unknown = result.of(UNKNOWN)
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


def verdict(result: Verification) -> str:
    """Return in one line what is not whole, and what to do."""
    files = result.counts
    parts = []
    if files[DAMAGED]:
        parts.append(f"{counted(files[DAMAGED], 'file')} damaged: write or copy them again")
    if files[CHANGED]:
        parts.append(
            f"{counted(files[CHANGED], 'file')} changed since vae3d wrote them: if you did, "
            "accept=true takes them as they are"
        )
    return f"{result.folder}: {'; '.join(parts)}"


def _printable(text: str) -> str:
    # Names of files may hold characters that move the cursor.
    return "".join(c if c.isprintable() else "?" for c in text)
