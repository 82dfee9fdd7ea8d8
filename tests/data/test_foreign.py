"""Formats that are not read are named, with a command that converts them."""

import logging
import os
import shlex
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.cmdline.convert import main

from vae3d.data.config import CTConfig, Images2DConfig
from vae3d.data.scan_source import ScanSource
from vae3d.errors import DataError, VolumeError
from vae3d.scans.files import read_volume
from vae3d.scans.foreign import FOREIGN, foreign_files, foreign_format, refusal
from vae3d.scans.formats import FORMATS

DICOM = bytes(128) + b"DICM" + bytes(64)


def refused(root: Path, config: type = CTConfig) -> str:
    with pytest.raises(DataError) as caught:
        ScanSource(config(root=str(root)))
    return str(caught.value)


def test_no_suffix_is_both_read_and_foreign() -> None:
    assert not {*FOREIGN} & {*FORMATS}


@pytest.mark.parametrize("suffix", [".mgz", ".MHA", ".nrrd", ".img", ".hdr", ".dcm", ".gipl"])
def test_a_scan_of_another_format_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a b{suffix}"
    path.write_bytes(bytes(400))
    name = FOREIGN[suffix.lower()].name
    for message in (refused(path), refused(tmp_path)):
        assert name in message
        assert "does not read" in message
        assert "convert" in message
    with pytest.raises(VolumeError, match=r"convert it: .*"):
        read_volume(path)


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.10008.5", "MR.0042"])
def test_slices_without_suffix_are_dicom(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(DICOM)
    (tmp_path / f"{name}1").write_bytes(DICOM)
    assert "2 DICOM" in refused(tmp_path)
    assert "dcm2niix -z y -o ." in refused(tmp_path)
    assert "the format DICOM" in refused(tmp_path / name)
    # In a list a folder may be named as a scan.
    with pytest.raises(VolumeError, match=r"is a folder of DICOM files.*dcm2niix"):
        read_volume(tmp_path)


def test_other_files_are_no_scans(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("text " * 100)
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / ".hidden.mha").write_text("")
    os.mkfifo(tmp_path / "pipe")
    assert foreign_files(tmp_path.iterdir()) == ""
    assert refusal(tmp_path / "README") is None
    assert "does not read" not in refused(tmp_path)
    assert "is no scan; scans end in .nii.gz" in refused(tmp_path / "README")


def test_files_that_are_left_out_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "a.nii")
    for name in ("b.mha", "c.mha", "d.mgz", "e.img", "e.hdr", "notes.txt"):
        (tmp_path / name).write_bytes(bytes(400))
    with caplog.at_level(logging.WARNING):
        source = ScanSource(CTConfig(root=str(tmp_path)))
    assert source.case_ids == ["a"]
    (message,) = caplog.messages
    assert "4 files of formats that vae3d does not read" in message
    assert "2 MetaImage" in message
    assert "1 FreeSurfer MGZ" in message


def test_the_other_kind_of_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    assert "; 1 file is 2D: type data=images_2d" in refused(tmp_path)
    assert "type data=images_2d" in refused(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.nii.gz")
    assert "; 1 file is 3D: type data=ct or data=mri" in refused(tmp_path, Images2DConfig)


def test_the_path_that_was_tried_is_whole(tmp_path: Path) -> None:
    tried = f"no such folder or scan: nowhere ({tmp_path}/nowhere)"
    assert refused(Path("nowhere")).endswith(tried)


def test_a_conversion_converts(tmp_path: Path) -> None:
    """The command for formats of nibabel, with a path that needs quotes."""
    path = tmp_path / "it's a.mgz"
    voxels = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    nib.save(nib.MGHImage(voxels, np.eye(4)), path)  # type: ignore[no-untyped-call]
    format_ = foreign_format(path)
    assert format_ is not None
    program, *words = shlex.split(format_.conversion(path))
    assert program == "nib-convert"
    main(words)  # type: ignore[no-untyped-call]
    converted = nib.load(tmp_path / "it's a.nii.gz")
    assert np.array_equal(np.asarray(converted.dataobj), voxels)  # type: ignore[attr-defined]
