"""Ribs, sternum and spine of a phantom."""

import numpy as np

from vae3d.phantoms.canvas import CORTEX, MARROW, Canvas, Field
from vae3d.phantoms.patient import Patient


def paint_skeleton(canvas: Canvas, patient: Patient, cavity: Field) -> None:
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


def _paint_spine(canvas: Canvas, spine: float, cortex: float, marrow: float) -> None:
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


def _paint_bone(canvas: Canvas, field: Field, shell: float, cortex: float, marrow: float) -> None:
    canvas.paint(field, cortex)
    canvas.paint(field - shell, marrow)
