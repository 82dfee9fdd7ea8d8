"""`LatentDataset`: a torch Dataset of the latents in a folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from vae3d.errors import ConfigError
from vae3d.files.paths import user_path
from vae3d.latents.folder import read_statistics
from vae3d.latents.joined import folders_of, join_latents
from vae3d.lists.labels import read_labels
from vae3d.patching.region import Region
from vae3d.runtime.seeding import numpy_generator
from vae3d.values.latent_statistics import LatentStatistics


class LatentDataset(Dataset[dict[str, Any]]):
    """Latents that `vae3d encode` wrote, as `{"latent": (C, *size), "case_id": str}`, float32.

    Items of quantized latents (`model.variance=fsq`) also have their `indices` in the codebook,
    int64 (*size). With `labels` an item also has a `label`: a whole number, a float, or the number
    of its class in `classes` where labels are text. Items of equal size are batches for torch's
    DataLoader.

    Args:
        folder: the folder that was `output=` of `vae3d encode`, or several that one encoder
            wrote. Of different scans with one name in two folders, the folder's name becomes part
            of `case_id`.
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
        labels: a CSV with a row per case: `case_id` and one or more columns of labels. Cases
            without a label are left out, which is logged.
        label: the column of the labels; None is the only one there is.

    Raises:
        UserError: no such folder, an empty split, a latent that is smaller than `size`, folders
            of different encoders or with the same scan, or a table without these labels.
    """

    def __init__(
        self,
        folder: str | Path | Sequence[str | Path],
        *,
        split: str | None = None,
        sample: bool = True,
        normalise: str | None = "channels",
        size: int | tuple[int, ...] | None = None,
        seed: int = 0,
        labels: str | Path | None = None,
        label: str | None = None,
    ) -> None:
        folders = folders_of(folder)
        self.folder = folders[0]
        self.statistics = _common_statistics(folders, normalise)
        self._latents = [e for e in join_latents(folders) if split in (None, e.entry.split)]
        self.entries = [latent.renamed for latent in self._latents]
        self.classes: list[str] = []
        self._labels: dict[str, int | float] = {}
        self.sample = sample
        self.normalise = normalise
        self.seed = seed
        self.epoch = 0
        if not self.entries:
            raise ConfigError(f"{self.folder}: split={split} holds no case")
        if normalise not in ("channels", "factor", None):
            raise ConfigError(f"normalise must be channels, factor or None, got {normalise!r}")
        if labels is not None:
            self._join(user_path(labels), label)
        elif label is not None:
            raise ConfigError(f"label={label} needs labels=, a CSV with such a column")
        axes = len(self.entries[0].size)
        self.size = (size,) * axes if isinstance(size, int) else size
        self._check_size()

    def _join(self, path: Path, label: str | None) -> None:
        """Keep the latents that have a label."""
        labels = read_labels(path, label)
        known = labels.joined([latent.name for latent in self._latents])
        self._latents = [self._latents[place] for place in known]
        self.entries = [latent.renamed for latent in self._latents]
        self._labels, self.classes = labels.values()

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
        posterior = self._latents[index].read()
        # Sampled on the whole grid, then cropped: the sample does not depend on the crop.
        latent = posterior.sample(self.seed, self.epoch) if self.sample else posterior.mean
        if self.normalise:
            latent = self.statistics.normalised(latent, self.normalise, axis=0)
        box = self._box(entry.case_id, latent.shape[1:])
        item = {"latent": box.cut(latent).to(torch.float32).contiguous(), "case_id": entry.case_id}
        if (indices := posterior.indices) is not None:
            item["indices"] = box.cut(indices).contiguous()
        return {**item, "label": self._labels[entry.case_id]} if self._labels else item

    def _box(self, case_id: str, size: Sequence[int]) -> Region:
        """Return the box of a latent's crop in this epoch; all of it without a size."""
        if not self.size:
            return Region((0,) * len(size), tuple(size))
        draw = numpy_generator(self.seed, f"cut:{case_id}", self.epoch)
        corner = [int(draw.integers(n - s + 1)) for n, s in zip(size, self.size, strict=True)]
        return Region(tuple(corner), self.size)


def _common_statistics(folders: Sequence[Path], normalise: str | None) -> LatentStatistics:
    """Return the statistics of the folders, which are equal where the weights hold them."""
    first, *others = (replace(read_statistics(folder), cases=None) for folder in folders)
    if normalise and any(statistics != first for statistics in others):
        raise ConfigError(
            "the folders have different statistics, because the weights hold none: encode the "
            "scans into one folder, or set normalise=None"
        )
    return first if others else read_statistics(folders[0])
