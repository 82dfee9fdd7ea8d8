"""`phantom`: a random chest and upper abdomen as computed tomography shows them.

Coordinates and shapes are those of `vae3d/phantoms/canvas.py`.
"""

import numpy as np
from numpy.typing import NDArray

from vae3d.phantoms.canvas import AIR, FAT, LUNG, MUSCLE, Canvas, Field, Point, waves
from vae3d.phantoms.patient import Patient
from vae3d.phantoms.skeleton import paint_skeleton


def phantom(shape: tuple[int, ...], seed: int, index: int) -> NDArray[np.float32]:
    """Return a phantom in HU, from -1024 to 2000, of any shape (D, H, W) or (H, W).

    It is a pure function of its arguments: (seed, index) is one patient, at any shape. An image
    (H, W) is an axial slice at a random level.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, index))))
    level = rng.uniform(-0.6, 0.7)
    size = (1, *shape) if len(shape) == 2 else shape
    canvas = Canvas.blank(size, level if len(shape) == 2 else 0.0, rng)
    patient = Patient.random(rng)
    if rng.random() < 0.6:
        _paint_table(canvas)
    walls = _paint_trunk(canvas, patient)
    _paint_abdomen(canvas, patient, rng)
    _paint_lungs(canvas, patient, walls, rng)
    _paint_vessels(canvas, patient, rng)
    paint_skeleton(canvas, patient, walls)
    return _with_texture_and_noise(canvas, rng).reshape(shape)


def _paint_table(canvas: Canvas) -> None:
    arc = canvas.y + 0.84 - 0.12 * canvas.x**2
    sides = 0.7 - np.abs(canvas.x)
    canvas.paint(np.minimum(0.04 - np.abs(arc), sides), -930.0)
    canvas.paint(np.minimum(0.006 - np.abs(np.abs(arc) - 0.04), sides), -250.0)


def _paint_trunk(canvas: Canvas, patient: Patient) -> Field:
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


def _paint_abdomen(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
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
    canvas: Canvas, patient: Patient, cavity: Field, rng: np.random.Generator
) -> None:
    axes = [canvas.u[:, 0, 0], canvas.y[0, :, 0], canvas.x[0, 0]]
    lung = np.minimum(cavity - 0.015, patient.dome(canvas))
    lung = np.minimum(lung, np.abs(canvas.x) - 0.1 - 0.1 * np.clip(canvas.y, 0, 1))
    lung = np.minimum(lung, -canvas.tube(patient.spine, 0.0, 0.17))
    lung = np.minimum(lung, canvas.ellipsoid((patient.diaphragm, 0, 0), (1.15, 0.9, 0.95)))
    # Gravity makes the back of the lung denser.
    canvas.paint(lung, LUNG - 60 * canvas.y + 18 * waves(axes, rng, 8))
    # The lines on which two waves are both zero meet and part like the vessels of the lung.
    crossing = np.hypot(waves(axes, rng, 6), waves(axes, rng, 6)) / 9
    hilum = np.hypot(np.abs(canvas.x) - 0.18, canvas.y)
    canvas.paint(np.minimum(lung, 0.036 - 0.04 * hilum - crossing), 30.0)


def _paint_vessels(canvas: Canvas, patient: Patient, rng: np.random.Generator) -> None:
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


def _with_texture_and_noise(canvas: Canvas, rng: np.random.Generator) -> Field:
    """Return the image with the texture of its tissues and the noise of the detector."""
    axes = [canvas.u[:, 0, 0], canvas.y[0, :, 0], canvas.x[0, 0]]
    texture = 9 * waves(axes, rng, 14)
    canvas.image[...] += texture * (canvas.image > -300)
    sigma = rng.uniform(8, 20)
    noise = rng.standard_normal(canvas.image.shape, np.float32)
    return np.clip(canvas.image + sigma * noise, -1024, 2000)
