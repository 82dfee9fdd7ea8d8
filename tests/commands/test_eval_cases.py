"""Which cases an evaluation scores: the run's own test cases, wherever and whatever they are."""

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig, DataConfig, RunData
from vae3d.errors import DataError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.latents.file import read_record
from vae3d.latents.folder import read_manifest
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import WholeVolumeConfig
from vae3d.run.config import TrainConfig
from vae3d.scans.files import read_volume
from vae3d.trainer.config import TrainerConfig
from vae3d.values.splits import SplitRule, case_rank

LISTED = ["train"] * 4 + ["val", "test", "test"]


def write_scan(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(-900, 900, (8, 8, 8)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.eye(4)), path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `scans` and a run on them."""
    folder = tmp_path_factory.mktemp("eval_cases")
    for number in range(7):
        write_scan(folder / f"scans/c{number}.nii.gz", number)
    rows = "".join(f"c{n}.nii.gz,{split}\n" for n, split in enumerate(LISTED))
    (folder / "list.csv").write_text("path,split\n" + rows)
    config = TrainConfig(
        name="run",
        runs_dir=str(folder),
        data=CTConfig(root=str(folder / "scans"), list=str(folder / "list.csv"), store=None),
        model=VAEConfig(in_channels=1, latent_channels=2, levels=[LevelSpec(channels=4)]),
        patching=WholeVolumeConfig(),
        trainer=TrainerConfig(steps=1, batch_size=1, device="cpu"),
    )
    train(config)
    return folder


def scored(
    run: Path, data: DataConfig | None = None, split: str = "auto"
) -> tuple[list[str], list[str]]:
    """Return the scored cases and the notes."""
    output = run.parent / f"scores_{len([*run.parent.iterdir()])}"
    config = EvalConfig(
        run=str(run),
        split=split,
        output=str(output),
        data=data or RunData(),
        device="cpu",
        evaluation=EvaluationConfig(metrics=["mae"], media=[], report=False, latents=False),
    )
    result = evaluate(config)
    assert json.loads((output / "summary.json").read_text()).get("warnings", []) == result.warnings
    return [case.case_id for case in result.cases], result.warnings


def folder_of(root: Path) -> CTConfig:
    return CTConfig(root=str(root), store=None)


def test_the_record_has_all_cases(made: Path) -> None:
    with (made / "run/cases.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["split"] for row in rows] == LISTED
    # Test cases are not read by a training without a store: their stamp stands for them.
    assert [bool(row["voxels"]) for row in rows] == [split != "test" for split in LISTED]
    assert all(row["voxels"] or row["stamp"] for row in rows)


@pytest.mark.parametrize("spelling", ["{}", "{}/", "{}/.", "{}/../scans"])
def test_the_spelling_of_a_path_does_not_matter(spelling: str, made: Path) -> None:
    data = folder_of(made / "scans")
    data.root = spelling.format(made / "scans")
    assert scored(made / "run", data) == (["c5", "c6"], [])


def test_moved_grown_and_shrunk_folders_have_the_same_test_cases(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "scans", tmp_path / "moved")
    shutil.copytree(made / "run", tmp_path / "elsewhere")
    for number in range(6):
        write_scan(tmp_path / f"moved/new{number}.nii.gz", 100 + number)
    (tmp_path / "moved/c0.nii.gz").unlink()
    assert scored(tmp_path / "elsewhere", folder_of(tmp_path / "moved")) == (["c5", "c6"], [])


def test_cases_that_were_trained_on_are_named(made: Path) -> None:
    cases, notes = scored(made / "run", split="all")
    assert cases == [f"c{n}" for n in range(7)]
    assert notes == [
        "4 of 7 cases were trained on (c0, c1, c2, c3)",
        "1 of 7 cases were used to choose the best weights (c4)",
    ]


def test_a_training_case_under_another_name_is_known(made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "scans/c1.nii.gz", tmp_path / "patient.nii.gz")
    write_scan(tmp_path / "other.nii.gz", 50)
    cases, notes = scored(made / "run", folder_of(tmp_path))
    assert cases == ["other", "patient"]
    assert notes == ["1 of 2 cases were trained on (patient)"]


def test_other_scans_of_the_same_names_are_all_scored_and_named(
    made: Path, tmp_path: Path
) -> None:
    for number in range(3):
        write_scan(tmp_path / f"c{number}.nii.gz", 70 + number)
    (tmp_path / "cases").mkdir()
    cases, notes = scored(made / "run", folder_of(tmp_path), split="all")
    assert cases == ["c0", "c1", "c2"]
    assert notes == ["same name as a case of the run, other voxels: 3 of 3 cases (c0, c1, c2)"]


def test_validation_cases_are_scored_where_there_are_no_test_cases(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (0, 4):
        shutil.copy(made / f"scans/c{number}.nii.gz", tmp_path)
    cases, notes = scored(made / "run", folder_of(tmp_path))
    assert cases == ["c4"]
    assert notes == ["1 of 1 case was used to choose the best weights (c4)"]
    assert "its validation cases are scored" in capsys.readouterr().err
    (tmp_path / "c4.nii.gz").unlink()
    with pytest.raises(DataError, match=r"split=all scores .*data\.fold=K/N"):
        scored(made / "run", folder_of(tmp_path))


def test_runs_that_recorded_names_only(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(made / "run", run)
    rows = [f"c{n},{s}\n" for n, s in enumerate(LISTED) if s != "test"]
    (run / "cases.csv").write_text("case_id,split\n" + "".join(rows))
    assert scored(run) == (["c5", "c6"], [])
    _, notes = scored(run, split="all")
    assert notes[0] == "4 of 7 cases were trained on (c0, c1, c2, c3)"
    assert notes[-1] == "the run records the names of its cases only: cases are known by name"


def test_an_evaluation_records_which_scans_the_test_cases_are(made: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(made / "run", tmp_path / "run"))
    before = (run / "cases.csv").read_text()
    scored(run)
    lines = (run / "cases.csv").read_text().splitlines()
    rows = {row["case_id"]: row for row in csv.DictReader(lines)}
    assert all(len(row["voxels"]) == 32 and not row["stamp"] for row in rows.values())
    assert [row["split"] for row in rows.values()] == LISTED
    # Now the test cases are known under any name.
    shutil.copytree(made / "scans", tmp_path / "renamed")
    for number in (5, 6):
        path = tmp_path / f"renamed/c{number}.nii.gz"
        path.rename(path.with_name(f"other{number}.nii.gz"))
    data = CTConfig(root=str(tmp_path / "renamed"), store=str(tmp_path / "store"))
    assert scored(run, data) == (["other5", "other6"], [])

    # A file that has changed since is not what the training listed.
    (run / "cases.csv").write_text(before)
    shutil.copytree(made / "scans", tmp_path / "scans")
    scored(run, CTConfig(root=str(tmp_path / "scans"), store=None))
    assert (run / "cases.csv").read_text() == before


def test_the_same_voxels_at_another_place_are_named(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "scans", tmp_path / "scans")
    path = tmp_path / "scans/c0.nii.gz"
    image = nib.load(path)
    # Loaded in full: the file is overwritten.
    voxels = image.get_fdata().astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 1, 1, 1])), path)
    data = CTConfig(root=str(tmp_path / "scans"), store=None)
    cases, notes = scored(made / "run", data, split="train")
    assert "c0" in cases
    assert "same voxels as in the run, at another place or spacing: 1 of 4 cases (c0)" in notes


def test_latents_keep_the_splits_of_the_run_and_know_their_scans(
    made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made / "scans", tmp_path / "scans")
    (tmp_path / "scans/c6.nii.gz").unlink()
    (tmp_path / "scans/c0.nii.gz").rename(tmp_path / "scans/renamed.nii.gz")
    write_scan(tmp_path / "scans/added.nii.gz", seed=50)
    data = CTConfig(root=str(tmp_path / "scans"), store=str(tmp_path / "store"))
    output = tmp_path / "latents"
    encode(EncodeConfig(run=str(made / "run"), output=str(output), data=data, device="cpu"))
    entries = {entry.case_id: entry for entry in read_manifest(output)}
    found = {case_id: entry.split for case_id, entry in entries.items()}
    drawn = next(name for name, members in SplitRule(0.1, 0.1).draw([case_rank("added")]).items()
                 if members.size)  # fmt: skip
    expected = {f"c{number}": LISTED[number] for number in range(1, 6)}
    assert found == {**expected, "renamed": "train", "added": drawn}
    for case_id, entry in entries.items():
        path = tmp_path / f"scans/{case_id}.nii.gz"
        identity = read_volume(path).identity
        record = read_record(output / entry.file)
        assert identity is not None
        assert (record.voxels, record.geometry) == (identity.voxels, identity.geometry)
        assert entry.voxels == identity.voxels

    # A list that is given has its own splits.
    (tmp_path / "list.csv").write_text("path,split\nc1.nii.gz,test\nc5.nii.gz,train\n")
    data = CTConfig(root=str(tmp_path / "scans"), list=str(tmp_path / "list.csv"), store=None)
    encode(
        EncodeConfig(run=str(made / "run"), output=str(tmp_path / "b"), data=data, device="cpu")
    )
    assert {e.case_id: e.split for e in read_manifest(tmp_path / "b")} == {
        "c1": "test",
        "c5": "train",
    }
