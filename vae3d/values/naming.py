"""File names for cases, whose ids may contain any character."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from vae3d.errors import DataError
from vae3d.files.letter_case import ignores_case

MAX_STEM_BYTES = 160
"""File systems allow 255, including the suffix and the prefix of a temporary file."""
_PLAIN = re.compile(
    r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w. +=,@()-]*[\w+=,@()-])?", re.IGNORECASE
)
"""Letters of any script, digits and some signs; no Windows device, no leading dot or dash."""


BREAKS = frozenset("\0\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
"""Characters that end a line for some programs, and the one that ends a text in C."""
MAX_CASE_ID_BYTES = 4096


def case_id_fault(case_id: str) -> str | None:
    """Return why a case cannot have this name, None if it can.

    Names are written to lists, tables and catalogs in UTF-8, one case a line, and read again.
    """
    if breaks := BREAKS.intersection(case_id):
        return f"{case_id!a:.80} contains {min(breaks)!a}, which would break a line of a table"
    try:
        size = len(case_id.encode())
    except UnicodeEncodeError:
        return f"{case_id!a:.80} is not UTF-8"
    if size > MAX_CASE_ID_BYTES:
        return f"{case_id!a:.80}... has {size} bytes, at most {MAX_CASE_ID_BYTES}"
    return None


def case_file(case_id: str) -> str:
    """Return the path of a case's file without suffix: readable, and unique to the case."""
    digest = hashlib.sha256(case_id.encode()).hexdigest()
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_." else "_" for c in case_id)
    return f"{digest[:2]}/{name[-80:].lstrip('.')}-{digest[2:10]}"


def file_stem(case_id: str) -> str:
    """Return a case's id as one file name, unique to the case.

    Two underscores separate its folders. If that would be ambiguous, or if some file system would
    refuse or alter the name, the name ends with `~` and a hash; no other name does.
    """
    flat = case_id.replace("/", "__")
    plain = _PLAIN.fullmatch(flat) and flat.replace("__", "/") == case_id
    if plain and len(flat.encode()) <= MAX_STEM_BYTES:
        return flat
    digest = hashlib.sha256(case_id.encode(errors="surrogatepass")).hexdigest()[:16]
    readable = re.sub(r"[^\w. -]", "_", flat).strip(". -") or "case"
    cut = readable.encode()[: MAX_STEM_BYTES - 20].decode(errors="ignore")
    return f"{cut}~{digest}"


def check_file_stems(folder: Path, case_ids: Iterable[str]) -> None:
    """Refuse cases that would share a file: names that differ only in case, where that is ignored.

    Names are not changed for it, so that files of earlier versions are recognised. The file system
    is asked only if there are such names.

    Raises:
        DataError: two cases would share a file in `folder`, or it cannot be written.
    """
    known: dict[str, str] = {}
    for case_id in case_ids:
        key = unicodedata.normalize("NFC", file_stem(case_id).casefold())
        other = known.setdefault(key, case_id)
        if other == case_id:
            continue
        try:
            if not ignores_case(folder):
                return
        except OSError as error:
            raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
        raise DataError(
            f"{folder}: the cases {other!r} and {case_id!r} would share a file, as this file "
            "system ignores case; rename one of them, or write to another file system"
        )
