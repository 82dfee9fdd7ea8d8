"""`Canvas`: an image in HU with smooth coordinates, on which tissues are painted.

Lengths are in halves of the field of view: (u, y, x) run upwards, forwards and to the patient's
right from the middle of the image, whose longest axis reaches from -1 to 1. A shape is a signed
distance field: positive inside, and near the border the distance to it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Point = tuple[float, float, float]

AIR, LUNG, FAT, MUSCLE, MARROW, CORTEX = -1000.0, -860.0, -100.0, 55.0, 250.0, 950.0
"""Tissues in HU."""


@dataclass(frozen=True)
class Canvas:
    """An image in HU and the coordinates (u, y, x) of its voxels, bent by random smooth waves.

    `voxel` is the size of a voxel in halves of the field of view.
    """

    image: Field
    u: Field
    y: Field
    x: Field
    voxel: float

    @classmethod
    def blank(cls, shape: tuple[int, ...], level: float, rng: np.random.Generator) -> "Canvas":
        """Return a canvas (D, H, W) of air whose middle is at height `level`."""
        half = max(shape) / 2
        axes = [((np.arange(n) + 0.5 - n / 2) / half).astype(np.float32) for n in shape]
        axes[0] += np.float32(level)
        y = axes[1][None, :, None] + 0.02 * waves(axes, rng, 3)
        x = axes[2][None, None, :] + 0.02 * waves(axes, rng, 3)
        image = np.full(shape, AIR, np.float32)
        return cls(image, np.broadcast_to(axes[0][:, None, None], shape), y, x, 1 / half)

    def paint(self, field: Field, value: float | Field) -> None:
        """Paint a tissue where the field is positive, blended over one voxel at the border."""
        cover = np.clip(field / self.voxel + 0.5, 0, 1)
        self.image[...] += cover * (value - self.image)

    def ellipsoid(self, centre: Point, radii: Point) -> Field:
        """Return the field of an ellipsoid; centre and radii are (u, y, x)."""
        square = ((self.u - centre[0]) / radii[0]) ** 2
        square = square + ((self.y - centre[1]) / radii[1]) ** 2
        square = square + ((self.x - centre[2]) / radii[2]) ** 2
        field: Field = (1 - np.sqrt(square)) * min(radii)
        return field

    def around(self, centre: Point, radii: Point) -> "Canvas":
        """Return the canvas around an ellipsoid only, so that small organs are fast to paint."""
        middle = [n // 2 for n in self.image.shape]
        axes = (
            self.u[:, middle[1], middle[2]],
            self.y[middle[0], :, middle[2]],
            self.x[middle[0], middle[1]],
        )
        boxes = zip(axes, centre, radii, strict=True)
        near = np.ix_(*[np.flatnonzero(np.abs(a - c) < r + 0.15) for a, c, r in boxes])
        box = tuple(slice(i.min(), i.max() + 1) if i.size else slice(0) for i in near)
        return Canvas(self.image[box], self.u[box], self.y[box], self.x[box], self.voxel)

    def tube(self, y: float | Field, x: float | Field, radius: float | Field) -> Field:
        """Return the field of a vertical vessel."""
        field: Field = radius - np.hypot(self.y - y, self.x - x)
        return field


def waves(axes: list[Field], rng: np.random.Generator, density: float) -> Field:
    """Return smooth noise of unit variance: B-splines with `density` random knots per unit."""
    # Sums of three terms and no matrix products, whose rounding depends on the number of threads.
    field = rng.standard_normal((24, 24, 24), np.float32)
    for axis, positions in enumerate(axes):
        knot, t = np.divmod(positions * density, 1)
        weights = (0.5 * (1 - t) ** 2, 0.75 - (t - 0.5) ** 2, 0.5 * t**2)
        column = [-1 if n == axis else 1 for n in range(3)]
        knots = knot.astype(int)
        terms = [
            field.take((knots + n) % 24, axis) * w.astype(np.float32).reshape(column)
            for n, w in enumerate(weights)
        ]
        field = terms[0] + terms[1] + terms[2]
    field *= np.float32(2.4)
    return field
