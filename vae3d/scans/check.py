"""`checked`: whether the voxels of a volume can teach or test anything."""

from dataclasses import replace

import torch

from vae3d.errors import VolumeError
from vae3d.scans.volume import Volume


def checked(volume: Volume, nonfinite: str) -> tuple[Volume, int]:
    """The volume, if its voxels can teach or test anything, and how many were filled.

    Raises:
        VolumeError: no finite voxel, some that are not finite (unless filled), or all one value.
    """
    name = volume.source.path if volume.source else volume.case_id
    data = volume.data
    missing = 0
    low, high = data.aminmax()
    # Its ends tell of any voxel that is not finite, at no memory of its own.
    if not (low.isfinite() and high.isfinite()):
        finite = torch.isfinite(data)
        missing = data.numel() - int(torch.count_nonzero(finite))
        if missing == data.numel():
            raise VolumeError(name, "holds no finite voxel")
        if nonfinite == "fail":
            raise VolumeError(
                name,
                f"{missing} of {data.numel()} voxels are NaN or Inf; "
                "data.nonfinite=fill gives them the scan's lowest value",
            )
        low, high = data[finite].aminmax()
        volume = replace(volume, data=torch.where(finite, data, low))
    if low == high:
        raise VolumeError(name, f"all voxels have the one value {low.item():g}")
    return volume, missing
