"""Neither keys nor the free text of scans are in what a run writes; no network is needed."""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.conftest import ROOT, vae3d

FIELDS = {"descrip": 80, "aux_file": 24, "intent_name": 16, "db_name": 18}
DEBUG = ("trainer=debug", "model=tiny", "trainer.steps=2")
SMALL = ("data.shape=[16,16,16]", "data.count=4", "patching.size=[8]")
KEY = "CANARYKEY".ljust(40, "0")


def write_scan(path: Path, seed: int) -> None:
    """A scan that says CANARY wherever a header has room for text."""
    voxels = np.random.default_rng(seed).normal(size=(10, 12, 14)).astype(np.float32)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    for field, length in FIELDS.items():
        image.header[field] = f"CANARY{field}"[: length - 1].encode()
    note = nibabel.nifti1.Nifti1Extension("comment", b"CANARYextension of a patient")
    image.header.extensions.append(note)
    nibabel.save(image, path)


def content(path: Path) -> bytes:
    """A file's bytes, and what is compressed in it."""
    raw = path.read_bytes()
    return raw + (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else b"")


def test_neither_keys_nor_patients_are_in_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    scans = tmp_path / "scans"
    scans.mkdir()
    for seed in range(4):
        write_scan(scans / f"case{seed}.nii.gz", seed)
    known = content(scans / "case0.nii.gz")
    assert known.count(b"CANARY") == len(FIELDS) + 1
    environment = {"WANDB_MODE": "offline", "WANDB_API_KEY": KEY}
    for arguments in (
        ("train", *DEBUG, "data=mri", f"data.root={scans}", "patching.size=[8]"),
        ("eval", "run=runs/vae3d", "split=all", "evaluation.save_reconstructions=true"),
    ):
        done = vae3d(*arguments, "logger=[wandb]", cwd=tmp_path, **environment)
        assert done.returncode == 0, done.stderr
        assert "CANARY" not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file() and scans not in path.parents]
    suffixes = {"".join(path.suffixes[-2:]) for path in files}
    assert {".wandb", ".nii.gz", ".safetensors", ".pt", ".b2nd", ".yaml"} <= {
        *suffixes, *(path.suffix for path in files)
    }  # fmt: skip
    for path in files:
        assert b"CANARY" not in content(path), path
        assert "CANARY" not in path.name
    assert any(b"case0" in content(path) for path in files), "names may be there"
    shared = [path for path in files if "weights" in path.parts]
    names = {"README.md", "checksums.json", "config.json", "model.safetensors"}
    assert {path.name for path in shared} == names
    for path in shared:
        # What is pushed to a hub names neither cases nor where they lie.
        for name in (b"case0", b"case3", bytes(tmp_path), b"runs/"):
            assert name not in content(path), path


FORBID = """
import socket
def refuse(self, address, *_):
    if self.family != socket.AF_UNIX:
        open({log!r}, "a").write(f"{{address}}\\n")
        raise PermissionError("a test forbids the network")
    return connect(self, address)
connect = socket.socket.connect
socket.socket.connect = socket.socket.connect_ex = refuse
def resolve(*names, **_):
    open({log!r}, "a").write(f"{{names}}\\n")
    raise PermissionError("a test forbids the network")
socket.getaddrinfo = socket.gethostbyname = resolve
"""


def test_training_and_evaluation_need_no_network_and_do_not_even_try(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    command = [unshare, "-rn", sys.executable] if unshare else [sys.executable]
    if subprocess.run([*command, "-c", "pass"], check=False).returncode:
        command = [sys.executable]  # no user namespaces here: what tries is seen all the same
    log = tmp_path / "connections"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(FORBID.format(log=str(log)))
    path = f"{tmp_path / 'site'}:{ROOT}"
    probe = "import socket; socket.create_connection(('127.0.0.1', 9))"
    tried = subprocess.run(
        [sys.executable, "-c", probe], env={"PYTHONPATH": path}, capture_output=True, check=False
    )
    assert b"a test forbids the network" in tried.stderr
    log.unlink()
    for arguments in (["train", *DEBUG, *SMALL], ["eval", "run=runs/vae3d"]):
        done = subprocess.run(
            [*command, "-m", "vae3d", *arguments, "evaluation.media=[png]"],
            cwd=tmp_path,
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert not log.exists(), log.read_text()
