"""Names of files for cases, whose ids may hold anything."""

import hashlib
import re

MAX_STEM_BYTES = 160
"""File systems end at 255, with suffix and what stands before a name while it is written."""
_PLAIN = re.compile(
    r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w. +=,@()-]*[\w+=,@()-])?", re.IGNORECASE
)
"""Letters of any script, digits, some signs; no device of Windows, no dot or dash in front."""


def case_file(case_id: str) -> str:
    """The path of a case's file without suffix: a readable name that no two cases share."""
    digest = hashlib.sha256(case_id.encode()).hexdigest()
    name = "".join(c if (c.isalnum() and c.isascii()) or c in "-_." else "_" for c in case_id)
    return f"{digest[:2]}/{name[-80:].lstrip('.')}-{digest[2:10]}"


def file_stem(case_id: str) -> str:
    """A case's name as one file name, which no other case has.

    Two underscores part its folders. A name that this would make ambiguous, or that some file
    system would not take or would mistake, ends with `~` and a hash, which no other name does.
    """
    flat = case_id.replace("/", "__")
    plain = _PLAIN.fullmatch(flat) and flat.replace("__", "/") == case_id
    if plain and len(flat.encode()) <= MAX_STEM_BYTES:
        return flat
    digest = hashlib.sha256(case_id.encode(errors="surrogatepass")).hexdigest()[:16]
    readable = re.sub(r"[^\w. -]", "_", flat).strip(". -") or "case"
    cut = readable.encode()[: MAX_STEM_BYTES - 20].decode(errors="ignore")
    return f"{cut}~{digest}"
