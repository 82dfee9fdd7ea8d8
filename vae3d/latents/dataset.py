"""`LatentDataset`: a torch Dataset of the latents in a folder."""

from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.latents.folder import read_entry, read_manifest, read_statistics
from vae3d.runtime.seeding import numpy_generator


class LatentDataset(Dataset[dict[str, Any]]):
    """Latents that `vae3d encode` wrote, as `{"latent": (C, *size), "case_id": str}`, float32.

    Args:
        folder: the folder that was `output=` of `vae3d encode`.
        split: `train`, `val` or `test`; None is all of them.
        sample: whether an item is a sample of the posterior, drawn from (seed, epoch, case), or
            its mean.
        normalise: `channels` (each to mean 0 and standard deviation 1), `factor` (one shift and
            scale for all, as in diffusers) or None. The statistics are those of the weights, from
            validation cases of their training, as the model card and the report name them; of
            weights that hold none, and in folders of earlier versions, those of the folder's
            latents. `statistics.restored` is the inverse.
        size: size of a random crop, another one in each epoch; one number is for all axes, None
            returns whole latents.
        seed: seed of samples and crops. They also depend on the epoch: call `set_epoch` before
            the loader starts.

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
        self.folder = user_path(folder)
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
        """Draw samples and crops for this epoch; the same epoch draws the same ones."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of latents."""
        return len(self.entries)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read one latent.

        Raises:
            DataError: its file is missing or damaged.
        """
        entry = self.entries[index]
        posterior = read_entry(self.folder, entry)
        # Sampled on the whole grid, then cropped: the sample does not depend on the crop.
        latent = posterior.sample(self.seed, self.epoch) if self.sample else posterior.mean
        if self.normalise:
            latent = self.statistics.normalised(latent, self.normalise, axis=0)
        if self.size:
            draw = numpy_generator(self.seed, f"cut:{entry.case_id}", self.epoch)
            for axis, side in enumerate(self.size, start=1):
                corner = int(draw.integers(latent.shape[axis] - side + 1))
                latent = latent.narrow(axis, corner, side)
        return {"latent": latent.to(torch.float32).contiguous(), "case_id": entry.case_id}
