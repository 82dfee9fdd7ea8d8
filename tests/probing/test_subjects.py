"""Cases of a probe: their labels, their groups, their scans, and what is refused."""

import csv
import json
import logging
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from tests.latents.folders import write_folder
from vae3d.data.config import CTConfig, RunData
from vae3d.errors import ConfigError, DataError, UserError
from vae3d.latents.joined import join_latents
from vae3d.lists.labels import read_labels
from vae3d.probing import linear
from vae3d.probing.command import probe
from vae3d.probing.config import ProbeConfig
from vae3d.probing.features import coarse
from vae3d.probing.linear import chance_scores, strata_of
from vae3d.probing.probe import ProbeResult, ProbeRow
from vae3d.probing.report import check_output, show, write
from vae3d.probing.scans import image_of, open_scans, scans_of
from vae3d.probing.subjects import Subjects, check_folds, labelled
from vae3d.runtime.progress import Silent

NAMES = "abcdefgh"


def subjects(
    folder: Path,
    rows: str,
    task: str = "auto",
    scans: dict[str, int] | None = None,
    **columns: str,
) -> Subjects:
    """Return the cases of a table whose first line is `rows`' first line."""
    if not (folder / "latents").exists():
        write_folder(folder / "latents", {name: n for n, name in enumerate(NAMES)})
    path = folder / "labels.csv"
    path.write_text(rows)
    latents = join_latents([folder / "latents"])
    return labelled(latents, read_labels(path, **columns), task, scans)  # type: ignore[arg-type]


def table(header: str, *columns: str) -> str:
    lines = [",".join([name, *cells]) for name, *cells in zip(NAMES, *columns, strict=True)]
    return "\n".join([header, *lines]) + "\n"


def test_labels_become_classes_or_numbers(tmp_path: Path) -> None:
    text = subjects(tmp_path, table("case_id,sex", "fmmmffmf"))
    assert text.classes == ["f", "m"]
    assert text.target.tolist() == [0, 1, 1, 1, 0, 0, 1, 0]
    assert text.column == "sex"
    assert text.title == "sex (f 4, m 4), 8 cases of 8 groups"
    codes = subjects(tmp_path, table("case_id,grade", "20120120"))
    assert codes.classes == ["0", "1", "2"]
    assert codes.target.tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    asked = subjects(tmp_path, table("case_id,grade", "20120120"), task="numbers")
    assert asked.classes == []
    assert asked.target.tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    many = "case_id,age\n" + "".join(f"{name},{n + 0.5}\n" for n, name in enumerate(NAMES))
    assert len(subjects(tmp_path, many).classes) == 8
    folder = write_folder(tmp_path / "more", {f"c{n:02}": n for n in range(12)})
    path = tmp_path / "ages.csv"
    path.write_text("case_id,age\n" + "".join(f"c{n:02},{n}\n" for n in range(12)))
    latents = join_latents([folder])
    assert labelled(latents, read_labels(path), "auto", None).classes == []
    as_classes = labelled(latents, read_labels(path), "classes", None)
    assert as_classes.classes == [str(n) for n in range(12)], "in the order of the numbers"


def test_groups_are_patients(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = table("case_id,Patient,sex,site", "xxyyzzww", "fmmmffmf", "11112222")
    found = subjects(tmp_path, rows, label="sex")
    assert found.num_groups == 4
    assert found.groups.tolist() == [1, 1, 2, 2, 3, 3, 0, 0]
    chosen = subjects(tmp_path, rows, label="sex", group="site")
    assert chosen.groups.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    plain = table("case_id,sex", "fmmmffmf")
    scans = {name: number // 3 for number, name in enumerate(NAMES)}
    of_scans = subjects(tmp_path, plain, scans=scans)
    assert of_scans.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert of_scans.group_source == "the scans"
    assert subjects(tmp_path, plain).num_groups == 8
    with pytest.raises(ConfigError, match=r"1 of 8 cases have no group: 'b'"):
        subjects(tmp_path, rows.replace("b,x", "b,"), label="sex")
    # Copies of a scan under two names stay in one fold.
    write_folder(tmp_path / "twice" / "latents", {"a": 0, "b": 0, "c": 2})
    copies = subjects(tmp_path / "twice", "case_id,sex\na,f\nb,f\nc,m\n")
    assert copies.num_groups == 2
    names = ["sub-01/ses-1/t1", "sub-01/ses-2/t1"]
    write_folder(tmp_path / "bids" / "latents", {name: n for n, name in enumerate(names)})
    with caplog.at_level(logging.WARNING):
        subjects(tmp_path / "bids", f"case_id,sex\n{names[0]},f\n{names[1]},m\n")
    assert "1 patient has several scans" in caplog.text
    assert "add a column patient" in caplog.text


@pytest.mark.parametrize(
    ("rows", "task", "message"),
    [
        (table("case_id,sex", "ffffffff"), "auto", "is 'f' for every case"),
        (table("case_id,age", "33333333"), "numbers", "is '3' for every case"),
        (table("case_id,sex", "fffffffm"), "auto", "class 'm' has 1 group and folds=3"),
        (table("case_id,patient,sex", "xxxxyyyy", "fmfmfmfm"), "auto", "there are 2; set folds="),
        ("case_id,sex\na,f\nb,m\nc,m\n", "auto", "3 of 8 cases have a 'sex'"),
        (table("case_id,age", "1234567x"), "numbers", "'x' of case 'h' is no number"),
        ("case_id,age\n" + "".join(f"{n},nan\n" for n in NAMES), "auto", "no case has a label"),
        ("case_id,age\n" + "".join(f"{n},inf\n" for n in NAMES), "numbers", "is no number"),
    ],
)
def test_labels_that_say_nothing_are_refused(
    tmp_path: Path, rows: str, task: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as raised:
        check_folds(subjects(tmp_path, rows, task), 3)
    assert "\n" not in str(raised.value)


def test_strata_spread_numbers_evenly() -> None:
    ages = np.array([50.0, 10.0, 40.0, 20.0, 30.0, 60.0])
    assert strata_of(ages, False, 2).tolist() == [2, 0, 1, 0, 1, 2]
    assert strata_of(ages, False, 6).tolist() == [0] * 6
    classes = np.array([0, 1, 0])
    assert strata_of(classes, True, 2) is classes


def test_chance_is_the_majority_or_the_mean() -> None:
    target = np.array([0, 0, 0, 1, 0, 1])
    scores = chance_scores(target, (np.arange(4), np.array([4, 5])), 2)
    assert scores == {"balanced_accuracy": 0.5, "roc_auc": 0.5}
    numbers = np.array([1.0, 3.0, 2.0, 4.0])
    scores = chance_scores(numbers, (np.array([0, 1]), np.array([2, 3])), 0)
    assert scores == {"r2": pytest.approx(-1.0), "mae": 1.0}


def write_scans(folder: Path, names: str = NAMES) -> None:
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        voxels = np.random.default_rng(number).integers(-900, 900, (6, 8, 9)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"{name}.nii.gz")


def test_scans_are_read_as_the_encoder_saw_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contract = {"kind": "window", "low": -500.0, "high": 500.0, "unit": "HU"}
    folder = write_folder(tmp_path / "latents", {n: k for k, n in enumerate(NAMES)},
                          contract=contract)  # fmt: skip
    latents = join_latents([folder])
    with caplog.at_level(logging.INFO):
        assert open_scans(RunData(), folder, Silent()) is None
    assert "data.root=FOLDER" in caplog.text
    write_scans(tmp_path / "scans")
    for data in (
        RunData(root=str(tmp_path / "scans")),
        CTConfig(root=str(tmp_path / "scans"), window=(-9.0, 9.0), store=None),
    ):
        cases = open_scans(data, folder, Silent())
        assert cases is not None
        places = scans_of(cases, latents)
        assert places is not None
        voxels = np.random.default_rng(1).integers(-900, 900, (6, 8, 9)).clip(-500, 500) / 500
        with pytest.raises(DataError, match=r"b: the scan below data\.root has other voxels"):
            image_of(cases, places[1], latents[1])
        blank = latents[1].__class__("b", folder, latents[1].entry.__class__("b", "", "", (), ()))
        image = image_of(cases, places[1], blank)
        torch.testing.assert_close(image[0], torch.from_numpy(voxels.T.copy()).float())
        assert coarse(image, 8).shape == (8,)
    (tmp_path / "scans" / "c.nii.gz").unlink()
    cases = open_scans(RunData(root=str(tmp_path / "scans")), folder, Silent())
    assert cases is not None
    with caplog.at_level(logging.WARNING):
        assert scans_of(cases, latents) is None
    assert "1 of 8 cases have no scan of their name: 'c'" in caplog.text
    (folder / "latents.json").write_text('{"contract": 3}')
    with pytest.raises(DataError, match="run vae3d encode again"):
        open_scans(RunData(root=str(tmp_path / "scans")), folder, Silent())
    (folder / "latents.json").unlink()
    with pytest.raises(DataError, match=r"holds no latents\.json"):
        open_scans(RunData(root=str(tmp_path / "scans")), folder, Silent())


def test_without_scikit_learn_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    config = ProbeConfig(latents=[str(tmp_path)], labels="x.csv")
    with pytest.raises(ConfigError, match=r"type pip install 'vae3d\[probe\]'"):
        probe(config)


def test_what_is_missing_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels must name a CSV"):
        probe(ProbeConfig(latents=[str(tmp_path)]))
    with pytest.raises(ConfigError, match=r"must end in \.json or \.csv"):
        check_output(Path("x.txt"))
    with pytest.raises(ConfigError, match="latents must name a folder"):
        probe(ProbeConfig(labels="x.csv"))


def test_results_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ProbeConfig(folds=2, repeats=1)
    folds = [
        {"balanced_accuracy": 0.5, "roc_auc": 1.0, "strength": 10.0},
        {"balanced_accuracy": 1.0, "roc_auc": float("nan"), "strength": 1.0},
    ]
    chance = [{"balanced_accuracy": 0.5, "roc_auc": 0.5}] * 2
    cases = subjects(tmp_path, table("case_id,sex", "fmmmffmf"))
    rows = [ProbeRow("chance", 0, chance), ProbeRow("latents, grid", 3, folds)]
    result = ProbeResult(cases, rows)
    show(result, config)
    printed = capsys.readouterr().out
    for text in ("sex (f 4, m 4)", "2 folds x 1", "0.750 ± 0.354", "1.000 ± 0.000", "ROC AUC"):
        assert text in printed
    write(tmp_path / "probe.csv", result, config)
    with (tmp_path / "probe.csv").open(newline="") as file:
        lines = [*csv.DictReader(file)]
    assert [line["fold"] for line in lines] == ["0", "1", "0", "1"]
    assert lines[2]["balanced_accuracy"] == "0.5"
    write(tmp_path / "probe.json", result, config)
    saved = json.loads((tmp_path / "probe.json").read_text())
    assert saved["groups"] == 8
    assert saved["rows"][1]["balanced_accuracy"]["mean"] == 0.75
    assert saved["rows"][1]["roc_auc"]["folds"] == [1.0]
    assert saved["rows"][1]["strengths"] == [10.0, 1.0]
    assert linear.STRENGTHS[0] > linear.STRENGTHS[-1]
