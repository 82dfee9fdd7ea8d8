"""Pictures that show whether latents are fit for a diffusion model: noise, blends, samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vae3d.inference.runner import ModelRunner
from vae3d.model.gaussian import draw_noise
from vae3d.pictures.figures import (
    BACKGROUND,
    FOREGROUND,
    GAP,
    TEXT,
    Array,
    Picture,
    fit,
    fitted,
    font,
    gray,
    planes,
)
from vae3d.runtime.seeding import torch_generator
from vae3d.values.intensity import IntensityRange

Summary = dict[str, Any]
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 4
LATENTS = {2: 64, 3: 16}
"""Latent voxels along a side of what is decoded, at most; by number of axes."""
VOXELS = {2: 512, 3: 96}
"""The same of voxels: a cube of them is less than the default batch of inference."""
SIDE = 200
"""Pixels of the longer side of a plane."""
DIM = (150, 155, 163)


@dataclass(frozen=True)
class Probe:
    """Decodings, (D, H, W) or (H, W) in [-1, 1], with their labels; `advice` says what to see."""

    name: str
    title: str
    advice: str
    steps: list[tuple[str, Array]]


def probes(
    runner: ModelRunner,
    first: Tensor,
    second: Tensor | None,
    health: Summary,
    range_: IntensityRange,
    spacing: Sequence[float],
    seed: int,
) -> list[tuple[str, Picture]]:
    """The pictures by name: `noise`, `interpolation` where there are two cases, `samples`.

    Of images (C, *spatial) in [-1, 1], `health` from `LatentHealth.summary` and the range and
    the spacing in millimetres of the first. All noise is drawn from `seed`. There are none where
    `health` has no finite figures.
    """
    made = decode_probes(runner, first, second, health, seed)
    return [(probe.name, draw(probe, range_, spacing)) for probe in made]


def decode_probes(
    runner: ModelRunner, first: Tensor, second: Tensor | None, health: Summary, seed: int
) -> list[Probe]:
    """What the pictures show, for images (C, *spatial) in [-1, 1]."""
    figures = [*health["latents_mean"], *health["latents_std"]]
    if not figures or None in figures:
        return []
    prober = _Prober(runner, health, seed)
    latent = prober.latent(first)
    around = [prober.noise(latent)]
    if second is not None:
        around.append(prober.interpolation(latent, prober.latent(second)))
    return [*around, prober.samples(latent)]


class _Prober:
    """Latents (1, C, *spatial) around those of a case, and what they decode to."""

    def __init__(self, runner: ModelRunner, health: Summary, seed: int) -> None:
        self.runner = runner
        self.seed = seed
        wide = (1, -1, *[1] * runner.model.spatial_dims)
        self.mean = torch.tensor(health["latents_mean"]).view(wide)
        self.std = torch.tensor(health["latents_std"]).view(wide)

    def noise(self, latent: Tensor) -> Probe:
        noise = self.noise_like(latent, "probe:noise")
        return Probe(
            "noise",
            "The middle of a case, its latents with noise of s standard deviations a channel",
            "Fit for diffusion: s = 0.25 costs fine detail only; with more, detail goes before"
            " anatomy.",
            [(f"s = {s:g}", self.decode(latent + s * noise)) for s in STRENGTHS],
        )

    def interpolation(self, first: Tensor, second: Tensor) -> Probe:
        size = [min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True)]
        first, second = centre(first, size), centre(second, size)
        return Probe(
            "interpolation",
            "From the middle of one case to another's: (1 - t) its latents + t the other's",
            "Latents on a grid cross-fade. Fit for diffusion: no step is darker, brighter or"
            " coarser than both ends.",
            [(f"t = {t:g}", self.decode((1 - t) * first + t * second)) for t in SHARES],
        )

    def samples(self, like: Tensor) -> Probe:
        numbers = range(1, SAMPLES + 1)
        drawn = [self.mean + self.noise_like(like, "probe:sample", number) for number in numbers]
        return Probe(
            "samples",
            "Latents drawn from a Gaussian for each channel, every latent voxel for itself",
            "Anatomy is the diffusion model's part. Fit: grain in the grays of scans, neither"
            " empty nor saturated.",
            [(f"sample {n}", self.decode(z)) for n, z in zip(numbers, drawn, strict=True)],
        )

    def noise_like(self, latent: Tensor, purpose: str, *numbers: int) -> Tensor:
        """Noise of the standard deviation that samples have over the data, in each channel."""
        generator = torch_generator(self.seed, purpose, *numbers)
        return self.std * draw_noise(latent.shape, generator)

    def latent(self, image: Tensor) -> Tensor:
        """The posterior's mode (1, C, *spatial) of the middle of an image, on the CPU."""
        model = self.runner.model
        dims, factor = model.spatial_dims, model.factor
        # Whole latent voxels: what is decoded needs no padding, unless the image is smaller.
        size = [
            max(1, min(length // f, LATENTS[dims], VOXELS[dims] // f)) * f
            for length, f in zip(image.shape[1:], factor, strict=True)
        ]
        return self.runner.encode(centre(image[None].float(), size)[0]).mode()

    def decode(self, latent: Tensor) -> Array:
        """The first channel of its image, clipped to [-1, 1]."""
        model = self.runner.model
        size = tuple(n * f for n, f in zip(latent.shape[2:], model.factor, strict=True))
        image: Array = self.runner.decode(latent[0], size)[0].numpy()
        return image


def centre(values: Tensor, size: Sequence[int]) -> Tensor:
    """The middle `size` voxels of (B, C, *spatial), or all along an axis that has fewer."""
    for axis, length in enumerate(size, start=2):
        kept = min(length, values.shape[axis])
        values = values.narrow(axis, (values.shape[axis] - kept) // 2, kept)
    return values


def draw(probe: Probe, range_: IntensityRange, spacing: Sequence[float]) -> Picture:
    """A column for each step: its axial plane above its coronal one, or the image."""
    columns = [planes(image, spacing)[:2] for _, image in probe.steps]
    rows = [
        [fit(gray(plane.image, -1, 1), plane.spacing, SIDE) for plane in row]
        for row in zip(*columns, strict=True)
    ]
    names = [plane.name for plane in columns[0]] if len(rows) > 1 else [""]
    small = font(TEXT - 2)
    heights = [max(row[0].shape[0], TEXT) for row in rows]
    left = 2 * GAP + int(max(small.getlength(name) for name in names))
    top = 2 * GAP + 4 * TEXT
    size = left + len(columns) * (SIDE + GAP), top + sum(heights) + len(rows) * GAP + TEXT + GAP
    page = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(page)
    room = size[0] - 2 * GAP
    pen.text((GAP, GAP), fitted(probe.title, room), FOREGROUND, font(TEXT + 3))
    pen.text((GAP, GAP + 2 * TEXT - 4), fitted(probe.advice, room, TEXT - 1), DIM, font(TEXT - 1))
    lefts = [left + number * (SIDE + GAP) for number in range(len(columns))]
    for x, (label, _) in zip(lefts, probe.steps, strict=True):
        pen.text((x + SIDE // 2, top - GAP // 2 - 2), label, FOREGROUND, small, anchor="ms")
    y = top
    for name, row, height in zip(names, rows, heights, strict=True):
        pen.text((GAP, y + height // 2), name, FOREGROUND, small, anchor="lm")
        for x, panel in zip(lefts, row, strict=True):
            corner = x + (SIDE - panel.shape[1]) // 2, y + (height - panel.shape[0]) // 2
            page.paste(Image.fromarray(panel), corner)
        y += height + GAP
    shape = " x ".join(map(str, probe.steps[0][1].shape))
    window = f"{range_.low:.4g} (black) to {range_.high:.4g} {range_.unit} (white)"
    pen.text((GAP, y), fitted(f"{shape} voxels, {window}", room, TEXT - 2), DIM, small)
    return np.asarray(page)
