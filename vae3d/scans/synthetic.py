"""`phantom`: a random chest and upper abdomen as computed tomography shows them.

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


def phantom(shape: tuple[int, ...], seed: int, index: int) -> NDArray[np.float32]:
    """Return a phantom in HU, from -1024 to 2000, of any shape (D, H, W) or (H, W).

    It is a pure function of its arguments: (seed, index) is one patient, at any shape. An image
    (H, W) is an axial slice at a random level.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))
    level = rng.uniform(-0.6, 0.7)
    size = (1, *shape) if len(shape) == 2 else shape
    canvas = _Canvas.blank(size, level if len(shape) == 2 else 0.0, rng)
    patient = _Patient.random(rng)
    if rng.random() < 0.6:
        _paint_table(canvas)
    walls = _paint_trunk(canvas, patient)
    _paint_abdomen(canvas, patient, rng)
    _paint_lungs(canvas, patient, walls, rng)
    _paint_vessels(canvas, patient, rng)
    _paint_skeleton(canvas, patient, walls)
    return _with_texture_and_noise(canvas, rng).reshape(shape)


@dataclass(frozen=True)
class _Canvas:
    """An image in HU and the coordinates (u, y, x) of its voxels, bent by random smooth waves.

    `voxel` is the size of a voxel in halves of the field of view.
    """

    image: Field
    u: Field
    y: Field
    x: Field
    voxel: float

    @classmethod
    def blank(cls, shape: tuple[int, ...], level: float, rng: np.random.Generator) -> "_Canvas":
        """Return a canvas (D, H, W) of air whose middle is at height `level`."""
        half = max(shape) / 2
        axes = [((np.arange(n) + 0.5 - n / 2) / half).astype(np.float32) for n in shape]
        axes[0] += np.float32(level)
        y = axes[1][None, :, None] + 0.02 * _waves(axes, rng, 3)
        x = axes[2][None, None, :] + 0.02 * _waves(axes, rng, 3)
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

    def around(self, centre: Point, radii: Point) -> "_Canvas":
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
        return _Canvas(self.image[box], self.u[box], self.y[box], self.x[box], self.voxel)

    def tube(self, y: float | Field, x: float | Field, radius: float | Field) -> Field:
        """Return the field of a vertical vessel."""
        field: Field = radius - np.hypot(self.y - y, self.x - x)
        return field


@dataclass(frozen=True)
class _Patient:
    """The parameters of a patient's body; the organs have random parameters of their own."""

    width: float
    depth: float
    fat: float
    wall: float
    diaphragm: float
    contrast: float
    density: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "_Patient":
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

    def dome(self, canvas: _Canvas) -> Field:
        """Return the height above the diaphragm, which is highest in the middle of each side."""
        side = np.abs(canvas.x) - 0.3
        height: Field = canvas.u - self.diaphragm + 0.9 * side**2 + 0.7 * (canvas.y - 0.05) ** 2
        return height


def _paint_table(canvas: _Canvas) -> None:
    arc = canvas.y + 0.84 - 0.12 * canvas.x**2
    sides = 0.7 - np.abs(canvas.x)
    canvas.paint(np.minimum(0.04 - np.abs(arc), sides), -930.0)
    canvas.paint(np.minimum(0.006 - np.abs(np.abs(arc) - 0.04), sides), -250.0)


def _paint_trunk(canvas: _Canvas, patient: _Patient) -> Field:
    """Paint skin, fat and muscle; return the field of the cavity inside the wall."""
    taper = 1 - 0.1 * np.clip(canvas.u + 0.2, -1, 1) ** 2
    power = np.float32(2.4)
    across = (np.abs(canvas.x) / (patient.width * taper)) ** power
    deep = (np.abs(canvas.y) / (patient.depth * taper)) ** power
    skin = (1 - (across + deep) ** (1 / power)) * patient.depth
    canvas.paint(skin, MUSCLE)
    canvas.paint(skin - 0.012, FAT)
    canvas.paint(skin - patient.fat, MUSCLE)
    cavity: Field = skin - patient.fat - patient.wall
    canvas.paint(cavity, FAT)
    # The muscles of the back are next to the spine.
    for side in (-1, 1):
        muscle = canvas.ellipsoid((0, patient.spine - 0.15, side * 0.17), (9, 0.13, 0.17))
        canvas.paint(np.minimum(muscle, skin - 0.03), MUSCLE)
    return cavity


def _paint_abdomen(canvas: _Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Paint the organs below the diaphragm: (centre, radii, HU), later ones over earlier ones."""
    top, w, spine, contrast = patient.diaphragm, patient.width, patient.spine, patient.contrast
    organs: list[tuple[Point, Point, float]] = [
        ((top - 0.2, 0.06, 0.52 * w), (0.42, 0.36, 0.36 * w), 55 + 0.35 * contrast),
        ((top - 0.12, 0.15, 0.15 * w), (0.24, 0.2, 0.4 * w), 55 + 0.35 * contrast),
        ((top - 0.22, -0.16, -0.62 * w), (0.24, 0.19, 0.13), 48 + 0.4 * contrast),
        ((top - 0.25, 0.18, -0.36 * w), (0.22, 0.18, 0.22), rng.uniform(5, 60)),
        ((top - 0.3, 0.31, -0.36 * w), (0.14, 0.05, 0.12), AIR + 50),
        ((top - 0.55, spine - 0.03, 0.3), (0.26, 0.11, 0.1), 35 + 0.8 * contrast),
        ((top - 0.48, spine - 0.03, -0.3), (0.26, 0.11, 0.1), 35 + 0.8 * contrast),
    ]
    for _ in range(rng.integers(16, 28)):
        centre = (top - rng.uniform(0.5, 1.4), rng.uniform(-0.05, 0.34), rng.uniform(-0.55, 0.55))
        radius = rng.uniform(0.05, 0.11)
        organs.append((centre, (2 * radius, radius, 1.3 * radius), rng.uniform(10, 60)))
        if rng.random() < 0.4:  # gas rises to the front
            bubble = (centre[0], centre[1] + 0.4 * radius, centre[2])
            organs.append((bubble, (radius, 0.5 * radius, 0.8 * radius), AIR + 80))
    for centre, radii, value in organs:
        shift = rng.normal(0, 0.015, 3)
        moved = (centre[0] + shift[0], centre[1] + shift[1], centre[2] + shift[2])
        near = canvas.around(moved, radii)
        inside = np.minimum(near.ellipsoid(moved, radii), -patient.dome(near) - 0.02)
        near.paint(inside, value)


def _paint_lungs(
    canvas: _Canvas, patient: _Patient, cavity: Field, rng: np.random.Generator
) -> None:
    axes = [canvas.u[:, 0, 0], canvas.y[0, :, 0], canvas.x[0, 0]]
    lung = np.minimum(cavity - 0.015, patient.dome(canvas))
    lung = np.minimum(lung, np.abs(canvas.x) - 0.1 - 0.1 * np.clip(canvas.y, 0, 1))
    lung = np.minimum(lung, -canvas.tube(patient.spine, 0.0, 0.17))
    lung = np.minimum(lung, canvas.ellipsoid((patient.diaphragm, 0, 0), (1.15, 0.9, 0.95)))
    # Gravity makes the back of the lung denser.
    canvas.paint(lung, LUNG - 60 * canvas.y + 18 * _waves(axes, rng, 8))
    # The lines on which two waves are both zero meet and part like the vessels of the lung.
    crossing = np.hypot(_waves(axes, rng, 6), _waves(axes, rng, 6)) / 9
    hilum = np.hypot(np.abs(canvas.x) - 0.18, canvas.y)
    canvas.paint(np.minimum(lung, 0.036 - 0.04 * hilum - crossing), 30.0)


def _paint_vessels(canvas: _Canvas, patient: _Patient, rng: np.random.Generator) -> None:
    """Paint the heart, the great vessels and the windpipe."""
    top, spine, blood = patient.diaphragm, patient.spine, 42 + patient.contrast
    size = rng.uniform(0.85, 1.15)
    centre, radii = (top + 0.22, 0.14, -0.1), (0.28 * size, 0.23 * size, 0.3 * size)
    near = canvas.around(centre, radii)
    heart = np.minimum(near.ellipsoid(centre, radii), patient.dome(near) + 0.05)
    near.paint(heart, 50 + 0.4 * patient.contrast)
    near.paint(heart - 0.06, blood)
    canvas.paint(canvas.tube(spine + 0.14, -0.09, 0.055), blood)
    canvas.paint(canvas.tube(spine + 0.17, 0.1, 0.05), 42 + 0.6 * patient.contrast)
    arch = np.minimum(canvas.tube(0.08, 0.06, 0.065), canvas.u - top - 0.35)
    canvas.paint(arch, blood)
    windpipe = np.minimum(canvas.tube(spine + 0.24, 0.0, 0.042), canvas.u - top - 0.5)
    canvas.paint(windpipe + 0.012, MUSCLE)
    canvas.paint(windpipe, AIR)


def _paint_skeleton(canvas: _Canvas, patient: _Patient, cavity: Field) -> None:
    cortex, marrow = CORTEX * patient.density, MARROW * patient.density
    chest = patient.dome(canvas) + 0.3
    # Ribs are rings in the wall, 34 mm apart, that are lower at the front.
    along = ((canvas.u + 0.45 * canvas.y) / 0.17) % 1 - 0.5
    rib = (1 - np.hypot(along * 0.17 / 0.045, (cavity + 0.026) / 0.022)) * 0.022
    rib = np.minimum(np.minimum(rib, chest), 0.65 * patient.depth - canvas.y)
    _paint_bone(canvas, rib, 0.008, cortex, marrow)
    sternum = np.minimum(0.025 - np.abs(cavity + 0.03), 0.085 - np.abs(canvas.x))
    sternum = np.minimum(np.minimum(sternum, canvas.y), chest - 0.25)
    _paint_bone(canvas, sternum, 0.01, cortex, marrow)
    _paint_spine(canvas, patient.spine, cortex, marrow)


def _paint_spine(canvas: _Canvas, spine: float, cortex: float, marrow: float) -> None:
    reach = (9.0, 0.3, 0.3)
    near = canvas.around((0.0, spine - 0.1, 0.0), reach)
    height = 0.08 - np.abs((near.u / 0.18) % 1 - 0.5) * 0.18
    level = np.clip(height / near.voxel, 0, 1)
    side, back = np.abs(near.x), near.y - spine + 0.15
    spinous = np.minimum(0.018 - side, 0.06 - np.abs(back + 0.07))
    transverse = np.minimum(0.02 - np.abs(back - 0.02), 0.19 - side)
    arch = np.maximum(near.tube(spine - 0.14, 0.0, 0.085), np.maximum(spinous, transverse))
    _paint_bone(near, np.minimum(arch, height + 0.01), 0.012, cortex, marrow)
    body = near.ellipsoid((0, spine, 0), (99, 0.1, 0.13))
    near.paint(body, 85.0)  # the disc between two vertebrae
    near.paint(body, 85 + level * (cortex - 85))
    near.paint(np.minimum(body - 0.014, height - 0.012), marrow)
    near.paint(near.tube(spine - 0.14, 0.0, 0.052), 25.0)


def _paint_bone(canvas: _Canvas, field: Field, shell: float, cortex: float, marrow: float) -> None:
    canvas.paint(field, cortex)
    canvas.paint(field - shell, marrow)


def _with_texture_and_noise(canvas: _Canvas, rng: np.random.Generator) -> Field:
    """Return the image with the texture of its tissues and the noise of the detector."""
    axes = [canvas.u[:, 0, 0], canvas.y[0, :, 0], canvas.x[0, 0]]
    texture = 9 * _waves(axes, rng, 14)
    canvas.image[...] += texture * (canvas.image > -300)
    sigma = rng.uniform(8, 20)
    noise = rng.standard_normal(canvas.image.shape, np.float32)
    return np.clip(canvas.image + sigma * noise, -1024, 2000)


def _waves(axes: list[Field], rng: np.random.Generator, density: float) -> Field:
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


def grid_affine(
    shape: tuple[int, ...], spacing: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the affine of a grid with its centre at the origin and axes D, H, W along z, y, x."""
    dims = len(shape)
    affine = np.eye(dims + 1)
    affine[:dims, :dims] = spacing * np.eye(dims)[::-1]
    affine[:dims, dims] = [-(n - 1) / 2 * spacing for n in reversed(shape)]
    return affine
