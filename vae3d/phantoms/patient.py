"""`Patient`: the random parameters of a body."""

from dataclasses import dataclass

import numpy as np

from vae3d.phantoms.canvas import Canvas, Field


@dataclass(frozen=True)
class Patient:
    """The parameters of a patient's body; the organs have random parameters of their own."""

    width: float
    depth: float
    fat: float
    wall: float
    diaphragm: float
    contrast: float
    density: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Patient":
        """Return a random patient."""
        return cls(
            width=rng.uniform(0.7, 0.88),
            depth=rng.uniform(0.48, 0.6),
            fat=rng.uniform(0.03, 0.09),
            wall=rng.uniform(0.055, 0.08),
            diaphragm=rng.uniform(-0.25, 0.25),
            contrast=rng.choice([0.0, rng.uniform(80, 220)]),
            density=rng.uniform(0.7, 1.2),
        )

    @property
    def spine(self) -> float:
        """The y coordinate of the vertebral bodies."""
        return -(self.depth - self.fat - self.wall) + 0.2

    def dome(self, canvas: Canvas) -> Field:
        """Return the height above the diaphragm, which is highest in the middle of each side."""
        side = np.abs(canvas.x) - 0.3
        height: Field = canvas.u - self.diaphragm + 0.9 * side**2 + 0.7 * (canvas.y - 0.05) ** 2
        return height
