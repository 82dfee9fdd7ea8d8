"""Laws of geometry: units, two forms that disagree, and headers that come back as they were."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from vae3d.errors import VolumeError
from vae3d.scans.files import read_volume, write_volume
from vae3d.scans.resample import resample_to_spacing
from vae3d.scans.volume import SourceGeometry, Volume
from vae3d.values.geometry_findings import FindingCounter, GeometryFinding
from vae3d.values.header_forms import HeaderForms

GRID = np.array([[1.0, 0, 0, -10], [0, 1.0, 0, -9], [0, 0, 2.0, -12], [0, 0, 0, 1]])
MIRRORED = np.array([[-1.0, 0, 0, 10], [0, 1.0, 0, -9], [0, 0, 2.0, -12], [0, 0, 0, 1]])
PLACES = ("pixdim", "srow_x", "srow_y", "srow_z", "quatern_b", "quatern_c", "quatern_d")
PLACES += ("qoffset_x", "qoffset_y", "qoffset_z", "sform_code", "qform_code", "xyzt_units")


def a_file(
    path: Path,
    sform: np.ndarray | None = GRID,
    qform: np.ndarray | None = GRID,
    codes: tuple[int, int] = (1, 1),
    kind: Any = nibabel.Nifti1Image,
    seed: int = 0,
    **fields: Any,
) -> Path:
    """A scan of 20 x 18 x 12 voxels that no flip leaves as it is, with these header fields."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in (20, 18, 12)), indexing="ij")
    header = kind.header_class()
    image = kind((40 * x + 10 * y + 3 * z + seed).astype(np.int16), None, header)
    header = image.header
    header.set_sform(GRID if sform is None else sform)
    header.set_qform(GRID if qform is None else qform, strip_shears=True)
    header["sform_code"], header["qform_code"] = codes
    header["xyzt_units"] = 2
    for name, value in fields.items():
        header[name] = value
    nibabel.save(image, path)
    return path


def found(path: Path, **options: Any) -> dict[str, float]:
    """The findings of a file, with their millimetres."""
    source = read_volume(path, **options).source
    assert source is not None
    return {finding.kind: round(finding.millimetres, 4) for finding in source.findings}


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("time", [0, 8, 16])
@pytest.mark.parametrize(("code", "millimetres"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (5, 1)])
def test_the_unit_of_the_header_is_applied(
    tmp_path: Path, code: int, millimetres: float, time: int, kind: Any
) -> None:
    path = a_file(tmp_path / "a.nii", kind=kind, xyzt_units=code + time)
    volume = read_volume(path)
    assert volume.spacing == pytest.approx(np.array([2, 1, 1]) * millimetres)
    assert volume.affine[:3, 3] == pytest.approx(np.array([-10, -9, -12]) * millimetres)
    assert volume.source is not None
    assert volume.source.affine[:3] == pytest.approx(GRID[:3] * millimetres)
    assert read_volume(path, reader=1).spacing == pytest.approx((2, 1, 1))


def test_a_qform_alone_has_the_unit_too(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a.nii", codes=(0, 1), xyzt_units=3)
    assert read_volume(path).spacing == pytest.approx((0.002, 0.001, 0.001))
    assert found(path) == {"micrometres": 0.002}
    assert found(path, reader=1) == {"ignored": 2.0}
    guess = a_file(tmp_path / "b.nii", codes=(0, 0), xyzt_units=1)
    assert read_volume(guess).spacing == pytest.approx((2000, 1000, 1000))
    assert found(guess) == {"guess": 0.0, "metres": 2000.0}


FILES: list[dict[str, Any]] = [
    {},
    {"codes": (4, 0)},
    {"codes": (0, 3)},
    {"codes": (0, 0)},
    {"codes": (2, 5)},
    {"sform": MIRRORED},
    {"codes": (1, 0), "pixdim": [1, 0.7, 0.7, 5, 1, 1, 1, 1]},
    {"xyzt_units": 3},
    {"xyzt_units": 1 + 8},
    {"xyzt_units": 0},
    {"codes": (0, 1), "xyzt_units": 3 + 16},
]


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("reader", [1, 2])
@pytest.mark.parametrize("fields", FILES)
def test_a_header_comes_back_as_it_was(
    tmp_path: Path, fields: dict[str, Any], reader: int, kind: Any
) -> None:
    path = a_file(tmp_path / "a.nii.gz", kind=kind, **fields)
    volume = read_volume(path, reader=reader)
    # As a store or a latent keeps it.
    assert volume.source is not None
    kept = SourceGeometry.from_json(json.loads(json.dumps(volume.source.describe())))
    coarse = resample_to_spacing(volume, tuple(2 * s for s in volume.spacing))
    assert kept.findings == volume.source.findings
    for number, result in enumerate((volume, coarse)):
        write_volume(replace(result, source=kept), tmp_path / f"{number}.nii.gz")
        first, second = nibabel.load(path), nibabel.load(tmp_path / f"{number}.nii.gz")
        assert second.shape == first.shape
        for name in PLACES:
            assert second.header[name] == pytest.approx(first.header[name]), name
        assert np.array_equal(second.affine, first.affine)
    values = nibabel.load(tmp_path / "0.nii.gz").get_fdata()
    assert np.array_equal(values, nibabel.load(path).get_fdata())


def test_another_grid_is_written_in_millimetres_with_codes_of_its_own(tmp_path: Path) -> None:
    volume = read_volume(a_file(tmp_path / "a.nii", codes=(4, 0), xyzt_units=3))
    crop = Volume(volume.data[:, :5], volume.affine, "crop", volume.source)
    write_volume(crop, tmp_path / "crop.nii")
    image = nibabel.load(tmp_path / "crop.nii")
    assert image.header.get_xyzt_units()[0] == "mm"
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert image.header.get_zooms() == pytest.approx((0.001, 0.001, 0.002))


def test_the_qform_is_that_of_nibabel() -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        header = nibabel.Nifti1Header()
        header.set_data_shape((3, 4, 5))
        header.set_qform(draw.normal(size=(4, 4)), 1, strip_shears=True)
        ours = HeaderForms.of(header).qform_affine
        assert ours == pytest.approx(header.get_qform(), abs=1e-6)
    for wrong in ({"quatern_b": 0.9, "quatern_c": 0.9}, {"quatern_d": 1.00001}):
        for name, number in wrong.items():
            header[name] = number
        assert HeaderForms.of(header).qform_affine is None


def test_forms_that_agree_are_no_finding(tmp_path: Path) -> None:
    assert found(a_file(tmp_path / "a.nii")) == {}
    assert found(a_file(tmp_path / "b.nii", codes=(4, 0))) == {}
    assert found(a_file(tmp_path / "c.nii", codes=(0, 1))) == {}
    turned = GRID.copy()
    # Half a turn, where the quaternion of float32 is least exact.
    turned[:3, :3] = np.diag([-1, -1, 2]) @ np.array(
        [[np.cos(1e-3), -np.sin(1e-3), 0], [np.sin(1e-3), np.cos(1e-3), 0], [0, 0, 1]]
    )
    assert found(a_file(tmp_path / "d.nii", turned, turned)) == {}


def test_sform_and_qform_that_disagree_are_measured_at_the_corners(tmp_path: Path) -> None:
    assert found(a_file(tmp_path / "a.nii", MIRRORED)) == {"forms": 20.0}
    moved = GRID.copy()
    moved[:3, 3] += [3, 0, 4]
    assert found(a_file(tmp_path / "b.nii", moved)) == {"forms": 5.0}
    near = GRID.copy()
    near[0, 3] += 0.2
    assert found(a_file(tmp_path / "c.nii", near)) == {}
    assert found(a_file(tmp_path / "d.nii", moved, xyzt_units=3)) == {
        "forms": 0.005,
        "micrometres": 0.002,
    }


def test_pixdim_that_is_not_that_of_the_sform_is_found(tmp_path: Path) -> None:
    pixdim = [1, 0.7, 0.7, 5, 1, 1, 1, 1]
    assert found(a_file(tmp_path / "a.nii", codes=(1, 0), pixdim=pixdim)) == {"pixdim": 3.0}
    # With a qform pixdim is a part of it.
    assert [*found(a_file(tmp_path / "b.nii", codes=(1, 1), pixdim=pixdim))] == ["forms"]


def test_a_missing_form_a_shear_and_a_damaged_quaternion_are_found(tmp_path: Path) -> None:
    assert found(a_file(tmp_path / "a.nii", codes=(0, 0))) == {"guess": 0.0}
    assert found(a_file(tmp_path / "b.nii", quatern_b=3.0)) == {"qform": 0.0}
    sheared = GRID.copy()
    sheared[0, 1] = 0.3
    finding = found(a_file(tmp_path / "c.nii", sheared, codes=(1, 0)))
    assert "shear" in finding
    # The corners move by half of the shear along one axis and half along the other.
    assert 1.0 < finding["shear"] < 0.3 * 17


def test_numbers_that_are_not_finite_do_not_survive(tmp_path: Path) -> None:
    path = a_file(tmp_path / "a.nii", codes=(1, 0), quatern_b=np.nan, qoffset_x=np.inf)
    source = read_volume(path).source
    assert source is not None
    assert json.loads(json.dumps(source.describe(), allow_nan=False))["forms"]["qform"][0] == 0
    wide = a_file(tmp_path / "b.nii", codes=(1, 0), kind=nibabel.Nifti2Image, qoffset_x=1e300)
    write_volume(read_volume(wide), tmp_path / "c.nii")
    assert nibabel.load(tmp_path / "c.nii").shape == (20, 18, 12)


def test_a_unit_that_moves_a_scan_out_of_reach_is_named(tmp_path: Path) -> None:
    far = GRID.copy()
    far[0, 3] = 2000
    path = a_file(tmp_path / "a.nii", far, xyzt_units=1)
    with pytest.raises(VolumeError, match="set its sform, qform or unit"):
        read_volume(path)
    assert read_volume(path, reader=1).spacing == pytest.approx((2, 1, 1))


def test_geometry_of_earlier_versions_is_read() -> None:
    values = {"path": "a.nii", "shape": [2, 3, 4], "affine": GRID.tolist(), "dtype": "int16"}
    source = SourceGeometry.from_json(values)
    assert source.forms is None
    assert source.findings == ()
    assert source.describe() == values


def test_a_summary_counts_scans_and_names_the_first_and_the_largest() -> None:
    forms, guess = GeometryFinding("forms", 3.0), GeometryFinding("guess")
    cases: list[tuple[str, list[GeometryFinding]]]
    cases = [("a", []), ("b", [guess, forms]), ("c", [GeometryFinding("forms", 20.0)])]
    counter = FindingCounter()
    for case_id, findings in cases:
        counter.add(case_id, findings)
    assert [summary.text(40) for summary in counter.summaries] == [
        "2 of 40 scans: sform and qform disagree by up to 20 mm; the sform is used (first: b)",
        "1 of 40 scans: no sform and no qform; left and right are a guess (first: b)",
    ]
    assert FindingCounter().summaries == []
