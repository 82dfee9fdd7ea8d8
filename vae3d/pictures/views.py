"""`CaseView`: the data of a case that figures and reports show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CaseView:
    """A case and its reconstruction, (D, H, W) or (H, W), float32 in `unit`.

    `low` to `high` is the range that the model sees. `spacing` is the size of a voxel along each
    axis in mm. `title` is printable. `stem` is a file name that no other case has.
    """

    title: str
    stem: str
    original: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    low: float
    high: float
    unit: str
    spacing: tuple[float, ...]
