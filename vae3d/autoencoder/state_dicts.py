"""`read_state_dict`: the tensors of a file of another program; none of its code runs."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vae3d.autoencoder.weights import MAX_HEADER_BYTES
from vae3d.errors import RunError
from vae3d.files.reading import check_regular, open_regular, reason_of

MAX_DEPTH = 8
"""How deep in dicts the tensors may be; a dict can contain itself."""
MAX_BYTES = 2**36
"""Largest file of tensors."""
SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
State = dict[str, Tensor]


def read_state_dict(path: Path) -> State:
    """Return the tensors of a `.safetensors` file or of a file of `torch.save`, on the CPU.

    A state dict inside of other dicts is found: `{"state_dict": ...}`. Numbers keep their type.
    Nothing in the file is executed, and no more memory is taken than a small multiple of its size.

    Raises:
        RunError: there is no such file, it is damaged, it is no state dict, or its tensors are
            larger than the file.
    """
    try:
        safe = path.suffix == ".safetensors"
        state = _read_safetensors(path) if safe else _tensors(_read_pickle(path))
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({reason_of(error)})") from error
    except RunError as error:
        raise RunError(f"{path}: {error}") from error
    except Exception as error:  # damaged archives and pickles raise whatever they stumble over
        raise RunError(f"{path}: cannot be loaded: {_first_sentence(error)}") from error
    # A tensor of one number and no strides can be of any shape.
    if sum(value.nbytes for value in state.values()) > path.stat().st_size:
        raise RunError(f"{path}: cannot be loaded: its tensors are larger than the file")
    return state


def _read_safetensors(path: Path) -> State:
    with open_regular(path, MAX_BYTES) as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER_BYTES:
        raise RunError(f"its header has {header} bytes, the limit is {MAX_HEADER_BYTES}")
    check_regular(path)
    state: State = load_file(path)
    return state


def _read_pickle(path: Path) -> Any:
    """Return what `torch.save` wrote, if it consists of tensors and plain values."""
    with open_regular(path, MAX_BYTES) as file:
        if zipfile.is_zipfile(file):
            file.seek(0)
            entries = zipfile.ZipFile(file).infolist()
            # torch.save compresses nothing, and a compressed entry can be a thousand times larger.
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise RunError("is a compressed archive, which torch.save does not write")
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)


def _tensors(loaded: Any) -> State:
    """Return the tensors of the dict that has the most of them, of equal ones the first."""
    best: State = {}
    level, known = [loaded], {id(loaded)}
    for _ in range(MAX_DEPTH):
        dicts = [value for value in level if isinstance(value, dict)]
        for found in dicts:
            tensors = {k: v for k, v in found.items() if isinstance(k, str) and type(v) is Tensor}
            best = tensors if len(tensors) > len(best) else best
        # A dict may contain itself, or another one many times.
        inner = {id(value): value for found in dicts for value in found.values()}
        level = [value for number, value in inner.items() if number not in known]
        known |= inner.keys()
    if not best:
        raise RunError("cannot be loaded: it holds no state dict")
    return best


def _first_sentence(error: Exception) -> str:
    """Return what a library reports, without torch's advice to load the file unsafely."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "weights_only" in text or "Weights only load failed" in text:
        return (
            "it holds more than tensors, and no code of a file is run; save its state dict alone"
        )
    return f"it is damaged, or no file of tensors ({text[:200]})"
