"""State dicts of other programs: what is read, and that nothing in them runs or takes over."""

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vae3d.autoencoder.state_dicts import read_state_dict
from vae3d.errors import RunError

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2).half()}


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call that unpickling makes."""
        return os.system, (self.command,)


def contained() -> dict[str, Any]:
    """The state dict inside of others, one of which contains itself, next to fewer tensors."""
    whole: dict[str, Any] = {"step": torch.ones(1), "model": {"state_dict": STATE}}
    whole["self"] = whole
    return whole


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [lambda: STATE, lambda: {"net": STATE, "epoch": 3}, contained])
def test_a_state_dict_is_read_wherever_it_is(tmp_path: Path, wrap: Any, legacy: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save(wrap(), path, _use_new_zipfile_serialization=not legacy)
    state = read_state_dict(path)
    assert [*state] == [*STATE]
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert state["a.bias"].dtype == torch.float16


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "weights.safetensors")
    state = read_state_dict(tmp_path / "weights.safetensors")
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


def compressed(path: Path) -> None:
    """Write the archive of torch.save with compressed entries."""
    plain = path.with_name("plain.zip")
    torch.save(STATE, plain)
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))


def whole_module(path: Path) -> None:
    """Pickle a module instead of its state dict."""
    torch.save(torch.nn.Linear(2, 2), path)


WRITERS: dict[str, Any] = {
    "no code of a file is run": whole_module,
    "larger than the file": lambda path: torch.save({"a": torch.zeros(1).expand(10**9)}, path),
    "holds no state dict": lambda path: torch.save([1, 2], path),
    "is damaged": lambda path: path.write_bytes(b"hello"),
    "is a compressed archive": compressed,
    "is a pipe": os.mkfifo,
    "is a folder": Path.mkdir,
    "No such file": lambda path: None,
}


OF_ANY_FORMAT = ("is a pipe", "is a folder", "No such file")
CASES = [("weights.pt", reason) for reason in WRITERS]
CASES += [("weights.safetensors", reason) for reason in OF_ANY_FORMAT]


@pytest.mark.parametrize(("name", "reason"), CASES)
def test_other_files_are_refused_in_one_line(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    WRITERS[reason](path)
    with pytest.raises(RunError, match=reason) as error:
        read_state_dict(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_header_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(RunError, match="header"):
        read_state_dict(path)


def test_no_code_of_a_pickle_runs(tmp_path: Path) -> None:
    path, proof = tmp_path / "weights.pt", tmp_path / "proof"
    torch.save({"a": torch.ones(1), "b": Hostile(f"touch {proof}")}, path)
    with pytest.raises(RunError, match="no code of a file is run"):
        read_state_dict(path)
    assert not proof.exists()
