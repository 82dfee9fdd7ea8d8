"""The table of a sweep: four digits in the terminal, all of them in the file."""

import csv
import json
from pathlib import Path

import pytest

from vae3d.cli.sweep import summarise


def test_printed_numbers_have_four_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, psnr in (("a=1", "30.123456789"), ("a=0.25", "31.987654321")):
        run = tmp_path / name
        run.mkdir()
        (run / "metrics.csv").write_text(f"step,epoch,split,psnr\n10,0,val,{psnr}\n")
        summary = {"steps": 10, "best_step": 10, "best_by": "psnr", "parameters": 174128}
        (run / "summary.json").write_text(json.dumps(summary))
    summarise([tmp_path / "a=1", tmp_path / "a=0.25"])
    printed = capsys.readouterr().out
    assert "30.12 " in printed
    assert "31.99 " in printed
    assert "174128" in printed
    with (tmp_path / "sweep.csv").open(newline="") as file:
        assert [row["psnr"] for row in csv.DictReader(file)] == ["31.987654321", "30.123456789"]
