"""`CaseView`: what of a case is shown, apart from how."""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_STEM_BYTES = 160
"""File systems end at 255, with suffix and what stands before a name while it is written."""
_PLAIN = re.compile(
    r"(?!(con|prn|aux|nul|com\d|lpt\d)(\.|$))\w([\w. +=,@()-]*[\w+=,@()-])?", re.IGNORECASE
)
"""Letters of any script, digits, some signs; no device of Windows, no dot or dash in front."""


@dataclass(frozen=True)
class CaseView:
    """A case and its reconstruction, (D, H, W) or (H, W), float32 in `unit`.

    `low` to `high` is the range that the model sees, `spacing` the size of a voxel along each axis
    in millimetres, `title` something printable, `stem` a file name that no other case has.
    """

    title: str
    stem: str
    original: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    low: float
    high: float
    unit: str
    spacing: tuple[float, ...]


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
