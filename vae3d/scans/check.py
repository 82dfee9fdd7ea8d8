"""`checked`: refuse volumes whose voxels are of no use for training or evaluation."""

from dataclasses import replace

import torch

from vae3d.errors import VolumeError
from vae3d.scans.volume import Volume


def checked(volume: Volume, nonfinite: str) -> tuple[Volume, int]:
    """Return the volume if its voxels can be used, and the number of voxels that were filled.

    With `nonfinite="fill"` voxels that are NaN or infinite get the lowest finite value.

    Raises:
        VolumeError: no finite voxel, some that are not finite (unless filled), or all one value.
    """
    name = volume.source.path if volume.source else volume.case_id
    data = volume.data
    nonfinite_voxels = 0
    low, high = data.aminmax()
    # NaN and Inf propagate to the minimum or the maximum: checking these two takes no memory.
    if not (low.isfinite() and high.isfinite()):
        finite = torch.isfinite(data)
        nonfinite_voxels = data.numel() - int(torch.count_nonzero(finite))
        if nonfinite_voxels == data.numel():
            raise VolumeError(name, "holds no finite voxel")
        if nonfinite == "fail":
            raise VolumeError(
                name,
                f"{nonfinite_voxels} of {data.numel()} voxels are NaN or Inf; "
                "data.nonfinite=fill replaces them by the scan's lowest value",
            )
        low, high = data[finite].aminmax()
        volume = replace(volume, data=torch.where(finite, data, low))
    if low == high:
        raise VolumeError(name, f"all voxels have the one value {low.item():g}")
    return volume, nonfinite_voxels
