"""Bad files that people have, through every command that reads scans: named, or used."""

import gzip
import json
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.faults.conftest import Hurry
from vae3d.commands.inspect import InspectConfig
from vae3d.commands.inspect_run import inspect
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig, Images2DConfig, MRIConfig, ScansConfig
from vae3d.errors import UserError
from vae3d.inspection import trial
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.patching.config import RandomPatchesConfig
from vae3d.patching.samplers import build_sampler

Make = Callable[[Path], object]
SILENT = ProgressBar("prepare", False)
VOXELS = np.random.default_rng(0).integers(-900, 900, (9, 10, 11)).astype(np.int16)
GRAY = np.random.default_rng(0).integers(0, 255, (12, 13)).astype(np.uint8)
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])


@dataclass(frozen=True)
class Bad:
    """A file `name` that `make` writes; `reason` is its error message, None if it can be used."""

    name: str
    make: Make
    reason: str | None

    def __str__(self) -> str:
        return self.name


def raw(content: bytes) -> Make:
    """A file of these bytes."""
    return lambda path: path.write_bytes(content)


def scan(voxels: np.ndarray, affine: np.ndarray | None = None) -> Make:
    """A NIfTI file as nibabel writes it."""
    grid = np.eye(4) if affine is None else affine
    return lambda path: nibabel.Nifti1Image(voxels, grid, dtype=voxels.dtype).to_filename(path)


def edited(**fields: Any) -> Make:
    """A NIfTI file with other values in its header than nibabel would write."""

    def make(path: Path) -> None:
        content = nibabel.Nifti1Image(VOXELS, np.eye(4), dtype=np.int16).to_bytes()
        header = nibabel.Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        whole = header.structarr.tobytes() + content[348:]
        path.write_bytes(gzip.compress(whole) if path.suffix == ".gz" else whole)

    return make


def packed(change: Callable[[bytes], bytes]) -> Make:
    """A packed scan that something happened to on its way."""
    whole = gzip.compress(nibabel.Nifti1Image(VOXELS, np.eye(4), dtype=np.int16).to_bytes())
    return raw(change(whole))


def array(values: Any) -> Make:
    """A .npy file."""
    return lambda path: np.save(path, values)


def picture(mode: str, **options: Any) -> Make:
    """An image of a mode of Pillow, in the format of its suffix or as `options` say."""
    return lambda path: Image.fromarray(GRAY).convert(mode).save(path, **options)


def tiff(values: np.ndarray, **options: Any) -> Make:
    """A TIFF."""
    return lambda path: tifffile.imwrite(path, values, **options)


def link(target: str) -> Make:
    """A symbolic link."""
    return lambda path: path.symlink_to(target)


def listening(path: Path) -> None:
    """A socket."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def flipped(content: bytes) -> bytes:
    """One bit of the middle."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def holed(value: float, count: int) -> np.ndarray:
    """Voxels of which the first `count` have a value."""
    voxels = VOXELS.astype(np.float32)
    voxels.flat[:count] = value
    return voxels


HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n" * 20
UNIT = np.diag([1.0, 1, 1, 1])
SCANS = [
    Bad("empty.nii", raw(b""), "is empty"),
    Bad("empty.nii.gz", raw(b""), "is empty"),
    Bad("page.nii", raw(HTML), "no NIfTI file"),
    Bad("page.nii.gz", raw(HTML), "no whole gzip file"),
    Bad("text.nii", raw(b"hello\n"), "no NIfTI file"),
    Bad("zeros.nii", raw(bytes(4096)), "no NIfTI file"),
    Bad("noise.nii", raw(np.random.default_rng(1).bytes(4096)), "no NIfTI file"),
    Bad("pointer.nii.gz", raw(b"version https://git-lfs.github.com/spec/v1\n"), "no whole gzip"),
    Bad("unpacked.nii.gz", scan(VOXELS), None),
    Bad("plain.nii.gz", lambda path: _moved(path, ".nii"), "no whole gzip file"),
    Bad("packed.nii", lambda path: _moved(path, ".nii.gz"), "no NIfTI file"),
    Bad("twice.nii.gz", packed(gzip.compress), "no NIfTI file"),
    Bad("header.nii", raw(bytes(100)), "no NIfTI file"),
    Bad("cut.nii.gz", packed(lambda content: content[: len(content) // 2]), "is truncated"),
    Bad("end.nii.gz", packed(lambda content: content[:-8]), "is truncated"),
    Bad("sum.nii.gz", packed(lambda content: content[:-8] + bytes(8)), "no whole gzip file"),
    Bad("bit.nii.gz", packed(flipped), "gzip"),
    Bad("tail.nii.gz", packed(lambda content: content + b"\n"), "no whole gzip file"),
    Bad("half.nii", edited(magic=b"ni1"), "half of a NIfTI pair"),
    Bad("magic.nii", edited(magic=b"abc"), "no NIfTI file"),
    Bad("type.nii", edited(datatype=999), "no readable NIfTI"),
    Bad("offset.nii", edited(vox_offset=1e8), "is truncated"),
    Bad("flat.nii", edited(dim=[3, 9, 0, 11, 1, 1, 1, 1]), "holds no image"),
    Bad("axes.nii", edited(dim=[0] * 8), "holds no image"),
    Bad("below.nii", edited(dim=[3, -9, 10, 11, 1, 1, 1, 1]), "holds no image"),
    Bad("lies.nii", edited(dim=[3, 2000, 2000, 2000, 1, 1, 1, 1]), "is truncated"),
    Bad("lies.nii.gz", edited(dim=[3, 1500, 1500, 1500, 1, 1, 1, 1]), "is truncated"),
    Bad("slope.nii", edited(scl_slope=3e38, scl_inter=0), "end of float32"),
    Bad("inter.nii", edited(scl_slope=1, scl_inter=np.nan), "no readable NIfTI"),
    Bad("noslope.nii", edited(scl_slope=np.nan, scl_inter=np.nan), None),
    Bad("nowhere.nii", edited(srow_x=[np.nan] * 4), "not finite"),
    Bad("far.nii", edited(srow_x=[1, 0, 0, 1e30]), "further than a kilometre"),
    Bad("singular.nii", edited(srow_x=[0] * 4), "singular affine"),
    Bad("nozoom.nii", edited(sform_code=0, pixdim=[1, 0, 1, 1, 1, 1, 1, 1]), "voxels of size"),
    Bad("nan.nii", scan(holed(np.nan, 1)), "are NaN or Inf"),
    Bad("inf.nii.gz", scan(holed(np.inf, 9)), "are NaN or Inf"),
    Bad("nothing.nii", scan(holed(np.nan, VOXELS.size)), "no finite voxel"),
    Bad("constant.nii", scan(holed(7, VOXELS.size)), "the one value 7"),
    Bad("black.nii.gz", scan(np.zeros_like(VOXELS)), "the one value 0"),
    Bad("huge.nii", scan(np.full((4, 4, 4), 1e300)), "end of float32"),
    Bad("complex.nii", scan(VOXELS.astype(np.complex64)), "data.channel"),
    Bad("colour.nii", scan(np.zeros((9, 9, 9), RGB)), "data.channel"),
    Bad("time.nii.gz", scan(np.stack([VOXELS, VOXELS], -1)), "data.channel"),
    Bad("five.nii", scan(np.zeros((4, 4, 4, 2, 3), np.int16)), "split it"),
    Bad("slice.nii", scan(VOXELS[:, :, :1]), None),
    Bad("two.nii", scan(VOXELS[:, :, 0]), None),
    Bad("voxel.nii", scan(VOXELS[:1, :1, :1]), "the one value"),
    Bad("line.nii", scan(VOXELS[:, :1, :1]), None),
    Bad("oblique.nii", scan(VOXELS, UNIT[[1, 2, 0, 3]] + 0.1 * UNIT), None),
    Bad("object.npy", array(np.array([[{}]], object)), "object"),
    Bad("words.npy", array(np.array([["a", "b"]] * 3)), "holds <U1 values"),
    Bad("scalar.npy", array(np.array(1.0)), "must hold"),
    Bad("five.npy", array(np.zeros((2,) * 5)), "must hold"),
    Bad("waves.npy", array(VOXELS.astype(complex)), "holds complex128 values"),
    Bad("none.npy", array(np.empty((0, 3, 3))), "holds no pixels"),
    Bad("empty.npy", raw(b""), "is empty"),
    Bad("page.npy", raw(HTML), "damaged"),
    Bad("cut.npy", raw(b"\x93NUMPY\x01\x00v\x00{'descr'"), "damaged"),
    Bad("nan.npy", array(holed(np.nan, 5)), "are NaN or Inf"),
    Bad("image.npy", array(GRAY), "has 2 axes where 3 are needed"),
    Bad("folder.nii.gz", lambda path: path.mkdir(), None),
    Bad("pipe.nii", os.mkfifo, "is a pipe, not a file"),
    Bad("socket.nii", listening, "is a socket, not a file"),
    Bad("device.nii", link("/dev/zero"), "is a device, not a file"),
    Bad("dangling.nii.gz", link("nothing"), "does not exist"),
    Bad("self.nii", link("self.nii"), "does not exist"),
    Bad("loop", link("."), None),
    Bad("._copy.nii.gz", raw(b"\x00\x05\x16\x07"), None),
    Bad("scan.nii.gz.part", raw(b"half"), None),
    Bad("it's, [a] = $scan & 日本.nii", raw(HTML), "no NIfTI file"),
    Bad("x" * 240 + ".nii", raw(HTML), "no NIfTI file"),
]  # fmt: skip
IMAGES = [
    Bad("empty.png", raw(b""), "is empty"),
    Bad("page.png", raw(HTML), "damaged"),
    Bad("page.jpg", raw(HTML), "damaged"),
    Bad("page.tif", raw(HTML), "damaged"),
    Bad("cut.png", lambda path: _cut(path, picture("L")), "damaged"),
    Bad("cut.jpg", lambda path: _cut(path, picture("L")), "damaged"),
    Bad("cut.tif", lambda path: _cut(path, tiff(GRAY)), "truncated"),
    Bad("press.jpg", picture("CMYK"), None),
    Bad("colour.png", lambda path: Image.radial_gradient("L").convert("HSV").convert("RGB").rotate(
        9, fillcolor="red").save(path), "data.channel"),
    Bad("palette.png", picture("P"), None),
    Bad("bits.png", picture("1"), None),
    Bad("deep.png", picture("I;16"), None),
    Bad("jpeg.png", picture("L", format="JPEG"), None),
    Bad("drawing.png", picture("L", format="EPS"), "damaged"),
    Bad("moving.png", lambda path: Image.fromarray(GRAY).save(
        path, save_all=True, append_images=[Image.fromarray(255 - GRAY)]), "animation"),
    Bad("black.png", lambda path: Image.new("L", (9, 9)).save(path), "the one value 0"),
    Bad("stack.tif", tiff(np.stack([GRAY] * 3), photometric="minisblack"), "one image"),
    Bad("nan.tif", tiff(np.full((8, 8), np.nan, np.float32)), "no finite voxel"),
    Bad("constant.tif", tiff(np.full((8, 8), 9, np.uint8)), "the one value 9"),
    Bad("waves.tif", tiff(GRAY.astype(np.complex64)), "holds complex64 values"),
    Bad("volume.npy", array(VOXELS), "axes where 2 are needed"),
    Bad("pipe.png", os.mkfifo, "is a pipe, not a file"),
    Bad("pixel.png", lambda path: Image.new("L", (1, 1)).save(path), "the one value 0"),
]  # fmt: skip


def _moved(path: Path, suffix: str) -> None:
    scan(VOXELS)(path.with_name(f"moved{suffix}"))
    path.with_name(f"moved{suffix}").rename(path)


def _cut(path: Path, make: Make) -> None:
    make(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def opened(data: ScansConfig) -> None:
    """What train and eval do with their data before the first step."""
    cases = open_cases(data, SILENT)
    indices = cases.survey("train")
    patching = build_sampler(RandomPatchesConfig(size=(4,)), cases.spatial_dims)
    dataset = PatchDataset(cases, indices, patching, seed=0)
    for number in range(min(len(dataset), 3)):
        assert dataset[Draw(0, number, 1.0)].image.isfinite().all()
    for index in indices.tolist():
        assert cases[index].volume().data.isfinite().all()


def inspected(data: ScansConfig) -> None:
    """`vae3d inspect`, which lists unusable cases in its table and continues."""
    output = inspect(InspectConfig(data=data, patching=RandomPatchesConfig(size=(4,)), count=2))
    odd = (output / "cases.csv").read_text()
    if "cannot be used" in odd:
        raise UserError(odd)


COMMANDS: dict[str, Callable[[ScansConfig], object]] = {
    "train and eval": opened,
    "prepare": lambda data: prepare(PrepareConfig(data=data)),
    "inspect": inspected,
}


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        *(pytest.param(bad, (CTConfig, MRIConfig)[n % 2], id=bad.name[:20])
          for n, bad in enumerate(SCANS)),
        *(pytest.param(bad, Images2DConfig, id=bad.name) for bad in IMAGES),
    ],
)  # fmt: skip
def test_a_bad_file_is_named_or_used(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hurry: Hurry,
    bad: Bad,
    kind: type[ScansConfig],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    bad.make(folder / bad.name)
    good = ("good.png", picture("L")) if kind is Images2DConfig else ("good.nii", scan(VOXELS))
    good[1](folder / good[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(trial, "READING_SECONDS", 0.0)
    for command, run in COMMANDS.items():
        for store in (None, "auto"):
            data = kind(root=str(folder), store=store, val_fraction=0, test_fraction=0)
            if isinstance(data, Images2DConfig):
                data.window = (0.0, 255.0)
            with hurry(f"{command} of {bad.name}"):
                line = ""
                try:
                    run(data)
                except UserError as error:
                    line = str(error)
            assert bool(line) == bool(bad.reason), (command, store, line)
            if bad.reason:
                name = bad.name.partition(".")[0] if command == "inspect" else bad.name
                assert name in line, (command, store, line)
                assert bad.reason in line, (command, store, line)
                assert command == "inspect" or "\n" not in line, (command, store, line)


def test_the_list_is_long_and_each_name_is_once() -> None:
    names = Counter(bad.name for bad in (*SCANS, *IMAGES))
    assert len(names) >= 90
    assert names.most_common(1)[0][1] == 1


@pytest.mark.parametrize("store", [None, "auto"])
def test_inspect_goes_on_behind_a_split_that_holds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(4):
        scan(VOXELS)(folder / f"{number}.nii")
    kept = open_cases(MRIConfig(root=str(folder), store=None, val_fraction=0.5), SILENT)
    broken = [kept.case_id(index) for index in kept.splits["val"].tolist()]
    assert 0 < len(broken) < 4
    for name in broken:
        (folder / f"{name}.nii").write_bytes(b"no scan")
    monkeypatch.setattr(trial, "READING_SECONDS", 0.0)
    data = MRIConfig(root=str(folder), store=store, val_fraction=0.5)
    output = inspect(
        InspectConfig(data=data, patching=RandomPatchesConfig(size=(4,)), count=2, split="train")
    )
    summary = json.loads((output / "summary.json").read_text())
    assert summary["cases"]["val"] == 0
    assert summary["unusable"] == len(broken)
    assert summary["patches"]["val"] == 0 < summary["patches"]["train"]
