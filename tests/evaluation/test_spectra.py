"""The curves of sharpness in a report: its table, its means, and its section on the page."""

import csv
import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vae3d.files.checksums import read_sums
from vae3d.report.page import plain
from vae3d.report.result import CaseScore, EvaluationResult
from vae3d.report.spectra import sharpness_section, spectra_summary, write_spectra
from vae3d.scoring.sharpness import BANDS, Sharpness, sharpness
from vae3d.scoring.spectrum import SHELLS

TEXT = "{http://www.w3.org/2000/svg}text"
PERIODS = ((), (2,), (2, 4))


def measured(seed: int, spacing: float = 1.0, scale: float = 0.5) -> Sharpness:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, 20, 24, 24, generator=generator) * 2 - 1
    return sharpness(image, scale * image, (spacing,) * 3, PERIODS)


def test_the_table_has_each_shell_of_each_case(tmp_path: Path) -> None:
    cases = {"a": measured(0), "b, with a comma": measured(1, 2.0)}
    write_spectra(tmp_path, cases)
    with (tmp_path / "spectra.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert len(rows) == 2 * 2 * SHELLS
    for case, of in cases.items():
        for unit, spectrum in (("cycles per voxel", of.per_voxel), ("cycles per mm", of.per_mm)):
            own = [row for row in rows if row["case_id"] == case and row["unit"] == unit]
            for name, values in (
                ("frequency", spectrum.frequencies),
                ("power_kept", spectrum.power_kept),
                ("fsc", spectrum.correlation),
            ):
                found = [float(row[name] or "nan") for row in own]
                assert found == pytest.approx(values, rel=1e-5, nan_ok=True)
    assert (tmp_path / "spectra.png").stat().st_size > 1000


def test_a_report_without_sharpness_has_no_old_curves(tmp_path: Path) -> None:
    protocol = {"scores": {"psnr": "dB"}}
    with_curves = [CaseScore("a", 0, 1, {"psnr": 1.0}, sharpness=measured(0))]
    result = EvaluationResult(with_curves, protocol)
    result.write(tmp_path)
    assert {"spectra.csv", "spectra.png"} <= {path.name for path in tmp_path.iterdir()}
    assert {"spectra.csv", "spectra.png"} <= {*read_sums(tmp_path)}
    replace(result, cases=[CaseScore("a", 0, 1, {"psnr": 1.0})]).write(tmp_path)
    assert not {"spectra.csv", "spectra.png"} & {path.name for path in tmp_path.iterdir()}
    assert "sharpness" not in json.loads((tmp_path / "summary.json").read_text())


def test_the_summary_has_means_over_cases() -> None:
    cases = {"a": measured(0, 2.0, 0.5), "b": measured(1, 2.0, 1.0)}
    summary = json.loads(json.dumps(spectra_summary(cases), allow_nan=False))
    assert summary["cases"] == 2
    known = [value for value in summary["power_kept"] if value is not None]
    assert known == pytest.approx([(0.25 + 1) / 2] * len(known), rel=1e-4)
    assert summary["resolution_mm"] == {"0.5": pytest.approx(4.0), "0.143": pytest.approx(4.0)}
    assert summary["staircase"] == {
        "depth": {}, "height": {"2": pytest.approx(1, abs=1e-4)},
        "width": {"2": pytest.approx(1, abs=1e-4), "4": pytest.approx(1, abs=1e-4)},
    }  # fmt: skip


def test_the_section_has_charts_and_tables() -> None:
    cases = {"a": measured(0, 2.0, 0.5), "b": measured(1, 1.0, 1.0)}
    section = sharpness_section(cases)
    assert section is not None
    json.dumps(plain(section), allow_nan=False)
    assert "2 cases" in section["text"]
    voxel, mm = map(ET.fromstring, section["charts"])
    texts = [
        {t.text for t in root.iter("{http://www.w3.org/2000/svg}text")} for root in (voxel, mm)
    ]
    assert {"cycles per voxel", "0.5"} <= texts[0]
    assert {"cycles per mm", "0.25"} <= texts[1], "up to what the larger voxels can show"
    assert not any("nan" in chart.lower() for chart in section["charts"])
    assert [band[0] for band in section["bands"]] == [name.capitalize() for name in BANDS]
    for _, _, power, fsc in section["bands"]:
        assert power == pytest.approx((0.625, 0.25, 1.0), rel=1e-4)
        assert fsc == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)
    assert section["steps"]["axes"] == ["Depth", "Height", "Width"]
    two, four = section["steps"]["rows"]
    assert (two[0], four[0]) == ("every 2 voxels", "every 4 voxels")
    assert two[2] is None
    assert two[3] == pytest.approx((1, 1, 1), abs=1e-4)
    assert four[2] is four[3] is None


def test_pixels_without_a_size_have_one_chart_and_empty_scans_none_of_the_values() -> None:
    section = sharpness_section({"a": measured(0)})
    assert section is not None
    assert len(section["charts"]) == 1
    assert sharpness_section({}) is None
    even = torch.zeros(1, 16, 16)
    empty = {"empty": sharpness(even, even, (1.0, 1.0), ((2,), (2,)))}
    section = sharpness_section(empty)
    assert section is not None
    assert json.loads(json.dumps(plain(section), allow_nan=False))["bands"][0][2] == [None] * 3
    assert "mm" not in section["text"]
    assert {*spectra_summary(empty)["power_kept"]} == {None}
    ET.fromstring(section["charts"][0])
    assert math.isnan(empty["empty"].power("fine"))
