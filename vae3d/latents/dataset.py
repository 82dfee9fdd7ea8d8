"""`LatentDataset`: the latents of a folder, for those who train on them."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vae3d.errors import ConfigError
from vae3d.latents.file import read_latent
from vae3d.latents.folder import read_manifest, read_statistics
from vae3d.runtime.seeding import numpy_generator


class LatentDataset(Dataset[dict[str, Any]]):
    """Latents that `vae3d encode` wrote, as `{"latent": (C, *size), "case_id": str}`, float32.

    Args:
        folder: what `output=` was.
        split: `train`, `val` or `test`; None is all of them.
        sample: a sample of each posterior, drawn from (seed, epoch, case), or its mean.
        normalise: `channels` (each of mean 0 and standard deviation 1 over the set), `factor`
            (one shift and scale for all, as diffusers does) or None. `statistics.restored` undoes
            it.
        size: latents are cut to it at random, in each epoch elsewhere; one number stands for
            every axis, None leaves them whole.
        seed: of samples and cuts. `set_epoch` gives others; call it before the loader starts.

    Raises:
        UserError: no such folder, an empty split, or a latent that is smaller than `size`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        split: str | None = None,
        sample: bool = True,
        normalise: str | None = "channels",
        size: int | tuple[int, ...] | None = None,
        seed: int = 0,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.statistics = read_statistics(self.folder)
        self.entries = [e for e in read_manifest(self.folder) if split in (None, e.split)]
        self.sample = sample
        self.normalise = normalise
        self.seed = seed
        self.epoch = 0
        if not self.entries:
            raise ConfigError(f"{self.folder}: split={split} holds no case")
        if normalise not in ("channels", "factor", None):
            raise ConfigError(f"normalise must be channels, factor or None, got {normalise!r}")
        axes = len(self.entries[0].size)
        self.size = (size,) * axes if isinstance(size, int) else size
        self._check_size()

    def _check_size(self) -> None:
        for entry in self.entries if self.size else []:
            assert self.size is not None
            if len(self.size) != len(entry.size) or min(self.size) < 1:
                raise ConfigError(f"size must be {len(entry.size)} positive numbers")
            if any(n < s for n, s in zip(entry.size, self.size, strict=True)):
                raise ConfigError(
                    f"size must be at most {entry.size}, the latent of {entry.case_id}; "
                    f"got {self.size}"
                )

    def set_epoch(self, epoch: int) -> None:
        """Other samples and cuts from here on, the same for the same epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One latent.

        Raises:
            DataError: its file is missing or damaged.
        """
        entry = self.entries[index]
        found = read_latent(self.folder / entry.file)
        # Drawn for the whole grid, then cut: a cut never changes the sample.
        latent = found.sample(self.seed, self.epoch) if self.sample else found.mean
        if self.normalise:
            latent = self.statistics.normalised(latent, self.normalise, axis=0)
        if self.size:
            draw = numpy_generator(self.seed, f"cut:{entry.case_id}", self.epoch)
            for axis, side in enumerate(self.size, start=1):
                corner = int(draw.integers(latent.shape[axis] - side + 1))
                latent = latent.narrow(axis, corner, side)
        return {"latent": latent.to(torch.float32).contiguous(), "case_id": entry.case_id}
