"""Pictures for judging latents for a diffusion model: noise, interpolation, samples, changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from vae3d.inference.runner import ModelRunner
from vae3d.loss.grids import GridChange
from vae3d.model.gaussian import draw_noise
from vae3d.patching.region import Region
from vae3d.pictures.figures import (
    BACKGROUND,
    FOREGROUND,
    GAP,
    TEXT,
    Array,
    Picture,
    fit,
    font,
    gray,
    planes,
    truncate_text,
)
from vae3d.runtime.seeding import torch_generator
from vae3d.values.intensity import IntensityRange

Summary = dict[str, Any]
STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Standard deviations of the added noise, in units of those of the latents."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Positions t of the interpolation, from the first case to the second."""
SAMPLES = 4
"""Number of samples."""
LATENTS = {2: 64, 3: 16}
"""Latent voxels along a side of a decoded latent, at most, by number of spatial axes."""
VOXELS = {2: 512, 3: 96}
"""The same in image voxels: a cube of them is smaller than the default batch of inference."""
SIDE = 200
"""Pixels of the longer side of a plane."""
DIM = (150, 155, 163)
"""Colour of secondary text."""


@dataclass(frozen=True)
class Probe:
    """Labelled decoded images, (D, H, W) or (H, W) in [-1, 1]; `advice` is how to judge them."""

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
    """Return the pictures by name: `noise`, `interpolation` if there are two cases, `samples`,
    `equivariance` if the model has latents of changed images.

    Images are (C, *spatial) in [-1, 1]; `health` comes from `LatentHealth.summary`; the range and
    the spacing, in mm, are those of the first image. All noise is drawn from `seed`. The list is
    empty if `health` has no finite statistics.
    """
    return [
        (probe.name, draw(probe, range_, spacing))
        for probe in decode_probes(runner, first, second, health, seed)
    ]


def decode_probes(
    runner: ModelRunner, first: Tensor, second: Tensor | None, health: Summary, seed: int
) -> list[Probe]:
    """Return the probes that `probes` draws, for images (C, *spatial) in [-1, 1]."""
    statistics = [*health["latents_mean"], *health["latents_std"]]
    if not statistics or None in statistics:
        return []
    prober = _Prober(runner, health, seed)
    latent = prober.latent(first)
    case_probes = [prober.noise(latent)]
    if second is not None:
        case_probes.append(prober.interpolation(latent, prober.latent(second)))
    case_probes.append(prober.samples(latent))
    changed = prober.equivariance(prober.crop(first), latent)
    return [*case_probes, *([changed] if changed.steps else [])]


class _Prober:
    """Creates latents (1, C, *spatial) from those of a case and decodes them."""

    def __init__(self, runner: ModelRunner, health: Summary, seed: int) -> None:
        self.runner = runner
        self.seed = seed
        per_channel = (1, -1, *[1] * runner.model.spatial_dims)
        self.mean = torch.tensor(health["latents_mean"]).view(per_channel)
        self.std = torch.tensor(health["latents_std"]).view(per_channel)

    def noise(self, latent: Tensor) -> Probe:
        """Return decodings of a latent with noise of each of STRENGTHS."""
        noise = self.noise_like(latent, "probe:noise")
        return Probe(
            "noise",
            "The centre of a case: its latents plus noise of s standard deviations per channel",
            "Good for diffusion: s = 0.25 removes fine detail only; with more noise, detail goes"
            " before anatomy.",
            [(f"s = {s:g}", self.decode(latent + s * noise)) for s in STRENGTHS],
        )

    def interpolation(self, first: Tensor, second: Tensor) -> Probe:
        """Return decodings along the line from one latent to another."""
        size = [min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True)]
        first, second = centre(first, size), centre(second, size)
        return Probe(
            "interpolation",
            "From the centre of one case to that of another: (1 - t) z1 + t z2 of their latents",
            "Latents on a grid cross-fade. Good for diffusion: no step is darker, brighter or"
            " coarser than both ends.",
            [(f"t = {t:g}", self.decode((1 - t) * first + t * second)) for t in SHARES],
        )

    def samples(self, like: Tensor) -> Probe:
        """Return decodings of Gaussian latents of this size."""
        numbers = range(1, SAMPLES + 1)
        latents = [self.mean + self.noise_like(like, "probe:sample", number) for number in numbers]
        return Probe(
            "samples",
            "Latents drawn from one Gaussian per channel, independently for each latent voxel",
            "Anatomy comes from the diffusion model. Good: grain in the grays of scans, neither"
            " empty nor saturated.",
            [(f"sample {n}", self.decode(z)) for n, z in zip(numbers, latents, strict=True)],
        )

    def equivariance(self, image: Tensor, latent: Tensor) -> Probe:
        """Return decodings of a latent that is changed, compared with the image (C, *spatial).

        Changes that no latent of an image has are left out: those of video begin with a frame.
        """
        cells, factor = tuple(latent.shape[2:]), self.runner.model.factor
        # An axis shorter than a latent voxel is not changed, as in the loss of this name.
        unit = [min(f, n) for f, n in zip(factor, image.shape[1:], strict=True)]
        steps = []
        for name, change in changes(cells, unit):
            target = change.of(image, unit)
            changed = change.of(latent[0], [1] * len(cells))
            if self.runner.model.latent_size(target.shape[1:]) != tuple(changed.shape[1:]):
                continue
            decoded = self.runner.decode(changed, target.shape[1:])
            error = float((decoded - target.clamp(-1, 1)).square().mean())
            decibels = 10 * math.log10(4 / max(error, 1e-12))
            steps.append((f"{name}: {decibels:.1f} dB", decoded[0].numpy()))
        return Probe(
            "equivariance",
            "The centre of a case: its latent scaled, flipped and turned, then decoded",
            "PSNR against the scan that was changed in the same way. Good for diffusion: close to"
            " that of the unchanged latent.",
            steps,
        )

    def noise_like(self, latent: Tensor, purpose: str, *numbers: int) -> Tensor:
        """Return noise with the standard deviation of the latents of the data, in each channel."""
        generator = torch_generator(self.seed, purpose, *numbers)
        return self.std * draw_noise(latent.shape, generator)

    def latent(self, image: Tensor) -> Tensor:
        """Return the posterior mode (1, C, *spatial) of the centre of an image, on the CPU."""
        return self.runner.encode(self.crop(image)).mode()

    def crop(self, image: Tensor) -> Tensor:
        """Return the centre (C, *spatial) of an image that is encoded."""
        model = self.runner.model
        dims, factor = model.spatial_dims, model.factor
        # Whole latent voxels, so that only images smaller than one need padding.
        size = [
            max(1, min(length // f, LATENTS[dims], VOXELS[dims] // f)) * f
            for length, f in zip(image.shape[1:], factor, strict=True)
        ]
        return centre(image[None].float(), size)[0]

    def decode(self, latent: Tensor) -> Array:
        """Return the first channel of the decoded image, clipped to [-1, 1]."""
        size = self.runner.model.image_size(latent.shape[2:])
        return self.runner.decode(latent[0], size)[0].numpy()


def changes(cells: Sequence[int], unit: Sequence[int]) -> list[tuple[str, GridChange]]:
    """Return the changes of a latent grid that are decoded, by name."""
    whole = Region((0,) * len(cells), tuple(cells))
    same = GridChange(whole, (), None, whole.size)
    half = tuple(-(-n // 2) for n in cells)
    last = len(cells) - 1
    found = [("as it is", same), ("half", replace(same, size=half))]
    found.append(("flipped", replace(same, flips=(last,))))
    if unit[last] == unit[last - 1]:
        turned = (*cells[: last - 1], cells[last], cells[last - 1])
        found.append(("turned", replace(same, turn=(last - 1, last, 1), size=turned)))
    return found


def centre(values: Tensor, size: Sequence[int]) -> Tensor:
    """Return the central `size` voxels of (B, C, *spatial), or all along an axis with fewer."""
    for axis, length in enumerate(size, start=2):
        count = min(length, values.shape[axis])
        values = values.narrow(axis, (values.shape[axis] - count) // 2, count)
    return values


def draw(probe: Probe, range_: IntensityRange, spacing: Sequence[float]) -> Picture:
    """Return a picture with a column for each step: its axial and coronal planes, or the image."""
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
    pen.text((GAP, GAP), truncate_text(probe.title, room), FOREGROUND, font(TEXT + 3))
    advice = truncate_text(probe.advice, room, TEXT - 1)
    pen.text((GAP, GAP + 2 * TEXT - 4), advice, DIM, font(TEXT - 1))
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
    pen.text((GAP, y), truncate_text(f"{shape} voxels, {window}", room, TEXT - 2), DIM, small)
    return np.asarray(page)
