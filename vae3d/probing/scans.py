"""The scans of latents, read as they were for the encoder."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vae3d.data.build import open_cases
from vae3d.data.cases import Cases
from vae3d.data.config import DataConfig, RunData
from vae3d.data.like import scans_like
from vae3d.errors import ConfigError, DataError
from vae3d.files.links import check_inside
from vae3d.files.plain import from_plain, read_json
from vae3d.latents.folder import SETTINGS
from vae3d.latents.joined import JoinedLatent
from vae3d.lists.labels import named
from vae3d.runtime.messages import counted
from vae3d.runtime.progress import Progress
from vae3d.values.intensity import IntensityContract, current_units

log = logging.getLogger(__name__)

ASK = "name their scans as data.root=FOLDER for the same probe on downsampled voxels"


def open_scans(chosen: DataConfig, folder: Path, progress: Progress) -> Cases | None:
    """Open the scans that latents are of; None, which is logged, if `data` names none.

    They have the range, the spacing and the channel of the latents.

    Raises:
        UserError: they do not exist, or the settings of the latents are damaged.
    """
    named_here = chosen.given() if isinstance(chosen, RunData) else {}
    if isinstance(chosen, RunData) and not {"root", "list", "store"} & {*named_here}:
        log.info(f"only the latents are probed: {ASK}")
        return None
    contract, dims, values = _settings(folder)
    encoded = scans_like(contract, dims, values["spacing"], channel=values["channel"])
    data = chosen.for_run(encoded, values)
    return open_cases(data.read_once(), progress, None, lambda own, axes: contract)


def scans_of(cases: Cases, latents: Sequence[JoinedLatent]) -> list[int] | None:
    """Return the number of each latent's scan; None, which is logged, if scans are missing."""
    places = {cases.case_id(index): index for index in cases.split_of()}
    missing = [latent.name for latent in latents if _find(latent, places) is None]
    if missing:
        log.warning(
            f"only the latents are probed: {len(missing)} of {counted(len(latents))} have no scan "
            f"of their name: {named(missing)}"
        )
        return None
    return [place for latent in latents if (place := _find(latent, places)) is not None]


def image_of(cases: Cases, index: int, latent: JoinedLatent) -> Tensor:
    """Return a scan (C, *spatial) in [-1, 1].

    Raises:
        DataError: it cannot be read, or is not the scan that was encoded.
    """
    case = cases[index]
    values = case.volume().data
    identity, voxels = case.identity, latent.entry.voxels
    if voxels and identity is not None and identity.voxels != voxels:
        raise DataError(
            f"{latent.name}: the scan below data.root has other voxels than the one that was "
            "encoded; name the folder that was encoded, or encode this one"
        )
    return case.range.to_model(values)


def _find(latent: JoinedLatent, places: dict[str, int]) -> int | None:
    return places.get(latent.name, places.get(latent.entry.case_id))


def _settings(folder: Path) -> tuple[IntensityContract, int, dict[str, Any]]:
    """Return how scans were read for the latents of a folder: contract, axes and values."""
    path = check_inside(folder, folder / SETTINGS)
    try:
        saved = current_units(from_plain(dict[str, Any], read_json(path), "the file"))
        contract: IntensityContract = from_plain(IntensityContract, saved.get("contract"))
        dims = from_plain(dict[str, Any], saved.get("architecture"), "architecture")
        axes: int = from_plain(int, dims.get("spatial_dims"), "spatial_dims")
        values = {name: saved.get(name) for name in ("spacing", "channel")}
        return contract, axes, {**values, contract.kind: (contract.low, contract.high)}
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {SETTINGS}; vae3d encode writes one") from None
    except (ConfigError, TypeError) as error:
        raise DataError(f"{path}: {error}; run vae3d encode again") from error
