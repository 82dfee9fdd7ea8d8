"""Weights on disk: `config.json`, `model.safetensors` and a model card, without any code."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vae3d.autoencoder.card import model_card
from vae3d.autoencoder.description import (
    CONFIG_FILE,
    Description,
    Origin,
    SplitRecord,
    read_description,
)
from vae3d.autoencoder.fingerprints import Fingerprints
from vae3d.errors import ConfigError, RunError
from vae3d.files.atomic import atomic_folder, file_digest, write_json, write_text
from vae3d.files.checksums import seal
from vae3d.files.reading import check_regular, open_regular, reason_of
from vae3d.model.config import VAEConfig
from vae3d.values.contract import InputContract
from vae3d.values.latent_statistics import LatentStatistics

TENSOR_FILE = "model.safetensors"
CARD_FILE = "README.md"
MAX_HEADER_BYTES = 2**24
"""The limit on a file's header; that of the largest possible network is about 5 MB."""
FLOATS = ("F16", "BF16", "F32", "F64")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of torch's batch norms that are not parameters."""


@dataclass(frozen=True)
class Weights:
    """The description of a folder of weights; `tensors` reads the tensors from the file `path`.

    `shapes` holds the kind (`F32`) and the shape of each tensor, from the file's header.
    """

    path: Path
    description: Description
    shapes: dict[str, tuple[str, tuple[int, ...]]]

    def check(self, expected: dict[str, Tensor]) -> None:
        """Compare with the tensors of a network, which may be on the meta device.

        Raises:
            RunError: a name, shape or kind differs; the message names the first.
        """
        for name in {**expected, **self.shapes}:
            if name not in expected:
                raise RunError(f"{name} is in {TENSOR_FILE}, but not in the architecture")
            if name not in self.shapes:
                raise RunError(f"{name} is missing in {TENSOR_FILE}")
            kind, shape = self.shapes[name]
            if shape != tuple(expected[name].shape):
                raise RunError(f"{name} has shape {shape}, not {tuple(expected[name].shape)}")
            if (kind in FLOATS) != expected[name].is_floating_point():
                raise RunError(f"{name} holds {kind} numbers")

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, on the CPU.

        Raises:
            RunError: the file is damaged, or not the one that the description is of.
        """
        digest = self.description.digest
        try:
            if digest is not None and file_digest(self.path) != digest:
                raise RunError(
                    f"{self.path}: does not have the SHA-256 that {CONFIG_FILE} names: it is "
                    "damaged, or of other weights; copy both files again (tensors that you "
                    f'changed yourself load with "digest": null in {CONFIG_FILE})'
                )
            check_regular(self.path)
            tensors: dict[str, Tensor] = load_file(self.path)
        except (OSError, SafetensorError) as error:
            raise _unreadable(self.path, error) from error
        return tensors


def save_weights(
    folder: Path,
    config: VAEConfig,
    state: dict[str, Tensor],
    contract: InputContract,
    statistics: LatentStatistics | None = None,
    origin: Origin | None = None,
    split_rule: SplitRecord | None = None,
) -> None:
    """Write the folder of weights, complete or not at all.

    `statistics` are of the latents of exactly these weights; None if they were not measured.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    parameters = [v for name, v in tensors.items() if name.split(".")[-1] not in BUFFERS]
    count = sum(v.numel() for v in parameters)
    card = model_card(config, contract, statistics, count, origin)
    with atomic_folder(folder) as temporary:
        save_file(tensors, temporary / TENSOR_FILE)
        description = Description(
            dataclasses.asdict(config),
            contract,
            file_digest(temporary / TENSOR_FILE),
            origin,
            split_rule,
            (*config.plugins,),
            statistics,
            Fingerprints.of(config, tensors),
        )
        write_json(temporary / CONFIG_FILE, description.to_json())
        write_text(temporary / CARD_FILE, card)
        seal(temporary, CONFIG_FILE, CARD_FILE)


def read_weights(folder: Path) -> Weights:
    """Read the description and the header of a folder of `save_weights`, but no tensor.

    No string in it is ever imported.

    Raises:
        RunError: the weights are missing, damaged, or of a newer format.
    """
    description = read_description(folder)
    return Weights(folder / TENSOR_FILE, description, _shapes(folder / TENSOR_FILE))


def read_statistics_of(folder: Path, users: Path | None) -> LatentStatistics:
    """Return the statistics that a folder of weights holds of their latents.

    With `users`, another folder of weights, both must have the same encoder, if that is known.

    Raises:
        ConfigError: the folder holds no statistics, or is of other weights than `users`.
        RunError: weights are missing or damaged.
    """
    description = read_description(folder)
    if users is not None and _encode_differently(description, read_description(users)):
        raise ConfigError(
            f"statistics={folder}: is of other weights than {users}; name the statistics of "
            "these, or add allow=[weights]"
        )
    if description.statistics is None:
        raise ConfigError(f"statistics={folder}: these weights hold no latent statistics")
    return description.statistics


def _encode_differently(one: Description, other: Description) -> bool:
    """Return whether two weights are known to have different encoders."""
    if one.fingerprints and other.fingerprints:
        return one.fingerprints.encoder != other.fingerprints.encoder
    return None not in (one.digest, other.digest) and one.digest != other.digest


def _shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        with open_regular(path) as file:
            size = int.from_bytes(file.read(8), "little")
        if size > MAX_HEADER_BYTES:
            raise RunError(f"{path}: its header has {size} bytes, the limit is {MAX_HEADER_BYTES}")
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: cannot be loaded: {reason_of(error)}")
