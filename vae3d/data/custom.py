"""`data=custom`: any torch Dataset, by name from the command line or as an object in Python."""

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vae3d.data.config import CustomConfig
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume
from vae3d.values.intensity import ARBITRARY, IntensityContract

IMAGE_KEYS = ("image", "volume")
MAX_OUTSIDE_SHARE = 0.5
"""Largest share of values outside data.window: more mean that the window is not set."""


class DatasetSource(CaseSource):
    """The items of a map-style torch Dataset as volumes.

    With a second Dataset of validation cases, all items of the first are training cases.

    Raises:
        DataError: the Dataset is empty, has no length, or its items hold no image.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        window: tuple[float, ...] = (-1.0, 1.0),
        unit: str = ARBITRARY,
        val_dataset: Dataset[Any] | None = None,
    ) -> None:
        self.dataset = dataset
        self.val_dataset = val_dataset
        self.count = _length(dataset, "data.dataset")
        case_ids = [f"item_{index:05d}" for index in range(self.count)]
        splits: list[str | None] = [None] * self.count
        if val_dataset is not None:
            held_out = _length(val_dataset, "val_dataset")
            case_ids += [f"val_{index:05d}" for index in range(held_out)]
            splits = [*["train"] * self.count, *["val"] * held_out]
        super().__init__(
            spatial_dims=self._item(0)["image"].dim() - 1,
            contract=IntensityContract("window", window[0], window[1], unit),
            case_ids=case_ids,
            splits=splits,
        )

    def read(self, index: int) -> Volume:
        """Read an item of the Dataset as a volume."""
        item = self._item(index)
        image: Tensor = item["image"]
        case_id = self.case_ids[index]
        if image.dim() - 1 != self.spatial_dims:
            raise VolumeError(case_id, f"has shape {tuple(image.shape)}, item 0 has other axes")
        outside = (image < self.contract.low) | (image > self.contract.high)
        share = outside.float().mean().item()
        if share > MAX_OUTSIDE_SHARE:
            raise VolumeError(
                case_id,
                f"{share:.0%} of its values are outside data.window "
                f"[{self.contract.low:g}, {self.contract.high:g}]; set the window of your data",
            )
        affine = item.get("affine")
        grid = np.eye(self.spatial_dims + 1) if affine is None else np.asarray(affine, float)
        return Volume(image, grid, case_id)

    def _item(self, index: int) -> dict[str, Any]:
        name, dataset = "data.dataset", self.dataset
        if self.val_dataset is not None and index >= self.count:
            name, dataset, index = "val_dataset", self.val_dataset, index - self.count
        item = dataset[index]
        if not isinstance(item, dict):
            item = {"image": item}
        key = next((k for k in IMAGE_KEYS if k in item), None)
        if key is None:
            raise DataError(
                f"item {index} of {name} has keys {sorted(map(str, item))}, "
                f"but neither {' nor '.join(IMAGE_KEYS)}"
            )
        image = torch.as_tensor(item[key])
        if image.dim() not in (3, 4) or image.is_complex():
            raise DataError(
                f"item {index} of {name} must be (C, D, H, W) or (C, H, W), "
                f"got {tuple(image.shape)} of {image.dtype}"
            )
        return {**item, "image": image.detach().float()}


def _length(dataset: Dataset[Any], name: str) -> int:
    try:
        count = len(dataset)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"{name} must have a length (a map-style Dataset)") from None
    if count == 0:
        raise DataError(f"{name} is empty")
    return count


def import_dataset(config: CustomConfig) -> Dataset[Any]:
    """Import and create the Dataset that the command line names.

    Raises:
        ConfigError: it does not exist or cannot be called with the options.
    """
    name = config.dataset or ""
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise ConfigError(f"data.dataset must be package.module:name, got {name!r}")
    try:
        factory = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"data.dataset={name} cannot be imported: {error}") from error
    try:
        dataset: Dataset[Any] = factory(**config.options)
    except TypeError as error:
        raise ConfigError(f"data.options do not fit {name}: {error}") from error
    return dataset


def named_source(config: CustomConfig) -> DatasetSource:
    """Return the source for the Dataset that the settings name.

    Raises:
        UserError: it cannot be imported, or is empty.
    """
    return DatasetSource(import_dataset(config), config.window, config.unit or ARBITRARY)
