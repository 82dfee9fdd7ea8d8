"""`Orientation`: how a file's axes become the canonical (D, H, W), and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from nibabel.orientations import OrientationError, aff2axcodes, io_orientation
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orientation:
    """The map of the axes (D, H, W) to those of a file: axis `axes[n]`, reversed if `flips[n]`."""

    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    @classmethod
    def of(cls, affine: NDArray[np.float64]) -> "Orientation":
        """Return the orientation closest to a file's affine (4, 4), which may be oblique."""
        closest = io_orientation(affine)
        if np.isnan(closest).any():
            raise OrientationError("an axis of its affine has no direction")
        world = closest[:, 0].astype(int).tolist()
        axes = tuple(world.index(direction) for direction in (2, 1, 0))
        return cls(axes, tuple(bool(closest[axis, 1] < 0) for axis in axes))

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of the file's array with the axes (D, H, W)."""
        view: NDArray[Any] = array.transpose(self.axes)[self._steps]
        return view

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array (D, H, W) with the axes of the file."""
        view: NDArray[Any] = array[self._steps].transpose(np.argsort(self.axes).tolist())
        return view

    @property
    def _steps(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)

    def index_map(self, file_shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the matrix (4, 4) from indices (d, h, w) to indices of the file."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for n, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            matrix[axis, n] = -1 if flip else 1
            matrix[axis, 3] = file_shape[axis] - 1 if flip else 0
        return matrix


def orientation_of(affine: NDArray[np.float64]) -> tuple[str, float]:
    """Return a file's axis codes (as RAS), and its largest angle to a world axis in degrees."""
    codes = "".join(code or "?" for code in aff2axcodes(affine))
    columns = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return codes, float(np.degrees(np.arccos(np.clip(np.abs(columns).max(axis=0), 0, 1))).max())
