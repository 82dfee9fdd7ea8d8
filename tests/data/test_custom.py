"""Items of any Dataset as volumes, and the Datasets that are refused."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import IterableDataset

from vae3d.data.config import CustomConfig
from vae3d.data.custom import DatasetSource, import_dataset
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.values.splits import SplitRule


class Items(list[Any]):
    """A list is a Dataset."""


class Endless(IterableDataset[Any]):
    """A Dataset without a length."""

    def __iter__(self) -> Iterator[Any]:
        yield IMAGE


def source(*items: Any, window: tuple[float, ...] = (-1.0, 1.0)) -> DatasetSource:
    return DatasetSource(Items(items), window)  # type: ignore[arg-type]


IMAGE = torch.linspace(-1, 1, 24).reshape(1, 2, 3, 4)


@pytest.mark.parametrize(
    "item",
    [IMAGE, IMAGE.numpy(), IMAGE.double(), {"image": IMAGE}, {"volume": IMAGE, "label": 3},
     {"volume": IMAGE[:, :1], "image": IMAGE}],
    ids=["tensor", "numpy", "double", "image", "volume", "both"],
)  # fmt: skip
def test_tensors_and_tables_are_volumes(item: Any) -> None:
    items = source(item, item)
    assert items.spatial_dims == 3
    assert items.case_ids == ["item_00000", "item_00001"]
    volume = items.read(1)
    assert volume.case_id == "item_00001"
    assert volume.data.dtype == torch.float32
    torch.testing.assert_close(volume.data, IMAGE)
    assert np.array_equal(volume.affine, np.eye(4))
    assert items.split(SplitRule(0.5, 0.0, "count"))["val"].tolist() in ([0], [1])


def test_an_affine_is_kept() -> None:
    affine = np.diag([3, 2, 1, 1])
    volume = source({"image": IMAGE, "affine": affine.tolist()}).read(0)
    assert np.array_equal(volume.affine, affine)
    assert volume.spacing == (3, 2, 1)
    assert source(IMAGE[0]).spatial_dims == 2
    learned = IMAGE.clone().requires_grad_()
    assert not source(learned).read(0).data.requires_grad


def test_half_of_the_values_may_be_outside_the_window() -> None:
    values = torch.tensor([[[-0.1, 0.0, 1.0, 1.1]]])
    source(values, window=(0.0, 1.0)).read(0)
    source(values, window=(-0.1, 1.1)).read(0)
    with pytest.raises(VolumeError, match=r"75% of its values are outside data.window \[0, 0.5\]"):
        source(values, window=(0.0, 0.5)).read(0)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "is empty"),
        ([{"label": 3, 4: 5}], r"has keys \['4', 'label'\], but neither image nor volume"),
        ([torch.zeros(2, 3)], r"must be \(C, D, H, W\) or \(C, H, W\), got \(2, 3\)"),
        ([torch.zeros(1, 1, 2, 3, 4)], r"got \(1, 1, 2, 3, 4\)"),
        ([torch.zeros(1, 2, 3, dtype=torch.complex64)], "of torch.complex64"),
    ],
    ids=str,
)  # fmt: skip
def test_items_without_an_image_are_named(items: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        source(*items)


def test_other_axes_and_no_length_are_named() -> None:
    with pytest.raises(VolumeError, match=r"item_00001: has shape \(1, 3, 4\), item 0 has other"):
        source(IMAGE, IMAGE[:, 0]).read(1)
    with pytest.raises(DataError, match="must have a length"):
        DatasetSource(Endless())


def test_a_dataset_is_imported_by_name() -> None:
    dataset = import_dataset(CustomConfig(dataset="collections:Counter", options={"a": 2}))
    assert dict(dataset) == {"a": 2}  # type: ignore[call-overload]
    for name, message in (
        (None, "must be package.module:name, got ''"),
        ("collections", "must be package.module:name"),
        (":Counter", "must be package.module:name"),
        ("collections:", "must be package.module:name"),
        ("no_such_module:Thing", "cannot be imported"),
        ("collections:Thing", "cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=message):
            import_dataset(CustomConfig(dataset=name))
    with pytest.raises(ConfigError, match=r"data\.options do not fit collections:deque"):
        import_dataset(CustomConfig(dataset="collections:deque", options={"size": 2}))
