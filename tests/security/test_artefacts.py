"""A corpus of malicious files: each is refused on one line, and nothing in it runs."""

import io
import json
import os
import pickle
import re
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.conftest import tiny_model
from vae3d.autoencoder.state_dicts import read_state_dict
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import UserError
from vae3d.exchange.config import ImportConfig
from vae3d.exchange.importing import import_weights
from vae3d.scans.files import read_volume

CANARY = "canary"


class Payload:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


TOUCH = f"touch {CANARY}"
OPEN = f"open({CANARY!r}, 'w').close()"
CALLS = {
    "os.system": lambda: Payload(os.system, TOUCH),
    "eval": lambda: Payload(eval, OPEN),
    "exec": lambda: Payload(exec, OPEN),
    "open": lambda: Payload(open, CANARY, "w"),
    "subprocess": lambda: Payload(__import__("subprocess").check_output, ["touch", CANARY]),
    "popen": lambda: Payload(os.popen, TOUCH),
    "import": lambda: Payload(__import__, "antigravity"),
    "torch.load": lambda: Payload(torch.load, CANARY),
    "numpy": lambda: Payload(np.load, CANARY, None, True),
    "torch.save": lambda: Payload(torch.save, 1, CANARY),
    "hub": lambda: Payload(torch.hub.load_state_dict_from_url, "file:///x"),
    "getattr": lambda: Payload(getattr, "text", "upper"),
    "runpy": lambda: Payload(__import__("runpy").run_path, CANARY),
    "makedirs": lambda: Payload(os.makedirs, CANARY),
}
PLACES: dict[str, Callable[[Any], Any]] = {
    "top": lambda payload: payload,
    "value": lambda payload: {"state_dict": payload},
    "nested": lambda payload: {"optimizer": {"state": [{0: (1, {"x": payload})}]}},
    "beside": lambda payload: {"encoder.weight": torch.zeros(2), "rng": payload},
    "key": lambda payload: {(1, "k"): {"a": payload}},
}


def zipped(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def legacy(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file that may hold a name twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def evil() -> bytes:
    return pickle.dumps(Payload(os.system, TOUCH), 2)


def harmless() -> bytes:
    return pickle.dumps({"a": 1}, 2)


def torchscript() -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def itself() -> dict[str, Any]:
    """A dict that holds itself."""
    found: dict[str, Any] = {}
    found["model"] = found
    return found


def deep(levels: int) -> Any:
    found: dict[str, Any] = {"quant_conv_mu.conv.weight": torch.zeros(2)}
    for _ in range(levels):
        found = {"model": found}
    return found


def global_call(module: str, name: str, argument: str) -> bytes:
    """A pickle of protocol 0, written by hand: module.name(argument)."""
    return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()


PICKLES: dict[str, Callable[[], bytes]] = {
    **{f"zip {name}": lambda make=make: zipped(make()) for name, make in CALLS.items()},
    **{f"legacy {name}": lambda make=make: legacy(make()) for name, make in CALLS.items()},
    **{f"raw {name}": lambda make=make: pickle.dumps(make()) for name, make in CALLS.items()},
    **{
        f"{place} {kind.__name__}": lambda put=put, kind=kind: kind(put(CALLS["os.system"]()))
        for place, put in PLACES.items()
        for kind in (zipped, legacy)
    },
    "protocol 0": lambda: global_call("os", "system", TOUCH),
    "posix": lambda: global_call("posix", "system", TOUCH),
    "builtins": lambda: global_call("builtins", "exec", OPEN.replace("'", '"')),
    "dotted": lambda: pickle.PROTO + b"\x04\x8c\x05torch\x8c\x11serialization.os.\x93.",
    "inst": lambda: f"(S'{TOUCH}'\nios\nsystem\n.".encode(),
    "data.pkl twice": lambda: archive(("a/data.pkl", harmless()), ("a/data.pkl", evil())),
    "data.pkl twice, turned": lambda: archive(("a/data.pkl", evil()), ("a/data.pkl", harmless())),
    "two data.pkl": lambda: archive(("a/data.pkl", evil()), ("b/data.pkl", harmless())),
    "DATA.PKL": lambda: archive(("a/DATA.PKL", evil()), ("a/version", b"3\n")),
    "case twist": lambda: archive(("a/data.pkl", evil()), ("a/DATA.PKL", harmless())),
    "no data.pkl": lambda: archive(("a/version", b"3\n")),
    "slip": lambda: archive(("../../canary", b"x"), ("a/data.pkl", evil())),
    "constants": lambda: archive(("a/data.pkl", evil()), ("a/constants.pkl", evil())),
    "deflated bomb": lambda: archive(
        ("a/data.pkl", b"\0" * 2**26), ("a/version", b"3\n"), method=zipfile.ZIP_DEFLATED
    ),
    "TorchScript": torchscript,
    "itself": lambda: zipped(itself()),
    "deep": lambda: zipped(deep(20)),
    "list": lambda: zipped([1, 2]),
    "tensor": lambda: zipped(torch.zeros(3)),
    "numbers as names": lambda: zipped({1: torch.zeros(3)}),
    "expanded": lambda: zipped({"encoder.weight": torch.zeros(1).expand(10**6, 10**6)}),
    "meta": lambda: zipped({"encoder.weight": torch.empty(10**6, 10**6, device="meta")}),
    "module": lambda: zipped(torch.nn.Linear(2, 2)),
    "module, legacy": lambda: legacy(torch.nn.Linear(2, 2)),
    "numpy object": lambda: zipped({"a": np.array([Payload(os.system, TOUCH)], object)}),
    "truncated": lambda: zipped({"a": torch.zeros(1000)})[:-500],
    "empty": lambda: b"",
    "text": lambda: b"<html>404</html>",
    "tar": lambda: b"storages\0" + b"\0" * 1000,
}


@pytest.fixture(autouse=True)
def _untouched() -> Any:
    yield
    assert not Path(CANARY).exists(), "it ran"


def refused(read: Callable[[Path], object], path: Path) -> str:
    """The line with which a file is refused, while little memory is taken."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as told:
        read(path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1000
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 2**19, "half a GiB"
    return str(told.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", PICKLES)
def test_pickles(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(PICKLES[kind]())
    line = refused(read_state_dict, path)
    assert re.search(r"cannot be (loaded|read)|is a compressed archive", line)


def test_the_payload_would_run(tmp_path: Path) -> None:
    touched = tmp_path / "proof"
    payload = Payload(exec, f"open({str(touched)!r}, 'w').close()")
    pickle.loads(pickle.dumps(payload))
    assert touched.exists()
    touched.unlink()
    torch.load(io.BytesIO(zipped({"a": payload})), weights_only=False)
    assert touched.exists()


@pytest.mark.parametrize("kind", ["monai", "features"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_import_is_refused_on_one_line(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(evil())
    window = [-1000, 1000] if kind == "monai" else None
    config = ImportConfig(kind, str(path), str(tmp_path / "out"), window=window)
    assert str(path) in refused(lambda _: import_weights(config), path)
    assert [*tmp_path.iterdir()] == [path]


def header(text: bytes | dict[str, Any], data: bytes = b"", size: int | None = None) -> bytes:
    """A .safetensors file with this header."""
    if isinstance(text, dict):
        text = json.dumps(text).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(first: int, last: int, shape: Any = (1,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


def twice(second: str) -> bytes:
    """A header with one name twice."""
    first = json.dumps(tensor(0, 4))
    return f'{{"a": {first}, "a": {second}}}'.encode()


SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "cut off": lambda: b"\x10\0\0",
    "header of 100 MB": lambda: header(b" " * 10**8 + b"{}"),
    "header of 17 MB": lambda: header(b'{"__metadata__":{"a":"' + b"x" * (17 * 10**6) + b'"}}'),
    "header of 2^63": lambda: header(b"{}", size=2**63),
    "header of 2^64 - 1": lambda: header(b"{}", size=2**64 - 1),
    "header beyond the end": lambda: header(b"{}", size=1000),
    "no JSON": lambda: header(b"\x80\x02}q\x00."),
    "pickle": evil,
    "zip": lambda: zipped({"a": torch.zeros(1)}),
    "deep": lambda: header(b"[" * 100000),
    "beyond the end": lambda: header({"a": tensor(0, 8, (2,))}, bytes(4)),
    "more shape than bytes": lambda: header({"a": tensor(0, 4, (10**9,))}, bytes(4)),
    "overlap": lambda: header({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
    "overlap in part": lambda: header({"a": tensor(0, 4), "b": tensor(2, 6)}, bytes(6)),
    "hole": lambda: header({"a": tensor(4, 8)}, bytes(8)),
    "hidden tail": lambda: header({"a": tensor(0, 4)}, bytes(400)),
    "negative offset": lambda: header({"a": tensor(-4, 0)}, bytes(4)),
    "turned offsets": lambda: header({"a": tensor(4, 0)}, bytes(4)),
    "overflowing offset": lambda: header({"a": tensor(0, 2**64)}, bytes(4)),
    "overflowing shape": lambda: header({"a": tensor(0, 4, (2**63, 2))}, bytes(4)),
    "shape that wraps to four": lambda: header({"a": tensor(0, 4, (2**62 + 1, 4))}, bytes(4)),
    "negative shape": lambda: header({"a": tensor(0, 4, (-1,))}, bytes(4)),
    "fraction": lambda: header({"a": tensor(0, 4, (1.5,))}, bytes(4)),
    "type": lambda: header({"a": tensor(0, 4, (1,), "os.system")}, bytes(4)),
    "object": lambda: header({"a": tensor(0, 4, (1,), "O")}, bytes(4)),
    "name twice, elsewhere": lambda: header(twice(json.dumps(tensor(4, 8))), bytes(8)),
    "name twice, no tensor": lambda: header(twice("{}"), bytes(4)),
    "name twice": lambda: header(twice(json.dumps(tensor(0, 4))), bytes(4)),
    "metadata of code": lambda: header({"__metadata__": {"a": {"_target_": "os.system"}}}),
    "of another network": lambda: save({"a": torch.zeros(2)}),
    "empty tensor of huge shape": lambda: header({"a": tensor(0, 0, (0, 2**62))}),
    "half bytes": lambda: header({"a": tensor(0, 1, (2,), "F4")}, bytes(1)),
}  # fmt: skip


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "weights")
    return tmp_path / "weights"


@pytest.mark.parametrize("kind", SAFETENSORS)
def test_safetensors(kind: str, weights: Path, tmp_path: Path) -> None:
    (weights / "model.safetensors").write_bytes(SAFETENSORS[kind]())
    assert str(weights) in refused(CustomVAE.from_pretrained, weights)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("encoder.stem.weight", lambda t: t.reshape(-1), "has shape"),
        ("encoder.stem.weight", lambda t: t.long(), "holds I64 numbers"),
        ("encoder.stem.weight", lambda t: t.to(torch.complex64), "holds C64 numbers"),
        ("encoder.stem.weight", lambda t: t.expand(3, *t.shape), "has shape"),
        ("encoder.stem.weight", lambda t: None, "is missing"),
        ("os.system", lambda t: torch.zeros(2), "not in the architecture"),
        ("encoder.__class__", lambda t: torch.zeros(2), "not in the architecture"),
    ],
)
def test_tensors_that_do_not_belong(
    name: str, change: Callable[[Any], Any], said: str, weights: Path
) -> None:
    state = CustomVAE.from_pretrained(weights).state_dict()
    state[name] = change(state.get(name))
    kept = {n: t.contiguous() for n, t in state.items() if t is not None}
    (weights / "model.safetensors").write_bytes(save(kept))
    assert said in refused(CustomVAE.from_pretrained, weights)


def npy(array: Any, allow_pickle: bool = True) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npy_header(text: str, data: bytes = b"") -> bytes:
    raw = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def nifti(**fields: Any) -> bytes:
    """A NIfTI-1 header with some fields of its own, and 64 voxels."""
    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    raw = bytearray(image.to_bytes())
    places = {"dim": (40, "<8h"), "datatype": (70, "<h"), "vox_offset": (108, "<f")}
    for name, values in fields.items():
        place, form = places[name]
        struct.pack_into(form, raw, place, *values)
    return bytes(raw)


SCANS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "object array": (".npy", lambda: npy(np.array([[Payload(os.system, TOUCH)]], object))),
    "pickle": (".npy", evil),
    "archive of arrays": (".npy", lambda: npz(a=np.zeros((2, 2)))),
    "header that calls": (".npy", lambda: npy_header("__import__('os').system('touch canary')")),
    "header of objects": (
        ".npy",
        lambda: npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}", evil()),
    ),
    "header that lies": (
        ".npy",
        lambda: npy_header(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (100000, 100000)}", bytes(64)
        ),
    ),
    "negative shape": (
        ".npy",
        lambda: npy_header(
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, -4)}", bytes(64)
        ),
    ),
    "deep header": (".npy", lambda: npy_header("(" * 110)),
    "pickle as NIfTI": (".nii", evil),
    "zip as NIfTI": (".nii.gz", lambda: zipped({"a": 1})),
    "huge NIfTI": (".nii", lambda: nifti(dim=(3, 32767, 32767, 32767, 1, 1, 1, 1))),
    "negative NIfTI": (".nii", lambda: nifti(dim=(3, -4, 4, 4, 1, 1, 1, 1))),
    "voxels far away": (".nii", lambda: nifti(vox_offset=(1e9,))),
    "voxels nowhere": (".nii", lambda: nifti(vox_offset=(float("nan"),))),
    "unknown voxels": (".nii", lambda: nifti(datatype=(999,))),
    "pickle as PNG": (".png", evil),
    "SVG as PNG": (".png", lambda: b"<svg><image href='file:///etc/passwd'/></svg>"),
    "pickle as TIFF": (".tiff", evil),
    "PostScript as JPEG": (".jpg", lambda: b"%!PS-Adobe-3.0\n(canary) (w) file closefile\n"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SCANS)
def test_scans(kind: str, tmp_path: Path) -> None:
    suffix, make = SCANS[kind]
    path = tmp_path / f"scan{suffix}"
    path.write_bytes(make())
    assert str(path) in refused(read_volume, path)


def test_the_corpus_is_large() -> None:
    assert len(PICKLES) + len(SAFETENSORS) + len(SCANS) >= 120
