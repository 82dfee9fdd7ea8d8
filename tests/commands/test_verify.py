"""`vae3d verify` names what is damaged, and the commands that use a folder name it too."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands.damage import flipped, shortened
from tests.conftest import ROOT, tiny_trainer, tiny_training, vae3d
from vae3d.commands.train_run import train
from vae3d.commands.verify import VerifyConfig
from vae3d.commands.verify_run import verify
from vae3d.errors import ConfigError, DamageError, DataError
from vae3d.files.checksums import CHECKSUMS
from vae3d.latents.folder import read_manifest

FIXTURES = ROOT / "tests" / "fixtures" / "v0_1"


def test_whole_folders_are_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("run", "latents", "store", "decoded", "look", "run/weights/latest", "run/report/full")
    for name in (*names, "run/report/full/compare_other", "."):
        result = verify(VerifyConfig(folder=str(copy / name)))
        assert result.is_whole
        assert result.counts["whole"] >= 2
    assert {*result.kinds} == {
        *("run", "checkpoint", "weight folder", "report", "latent folder", "store"),
        *("comparison", "output folder", "inspection"),
    }
    unknown = {finding.path.name for finding in result.of("no checksum")}
    assert unknown == {"status.json"}
    assert "damaged" not in capsys.readouterr().out


def test_folders_of_earlier_versions_are_whole_as_far_as_they_can_tell(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = verify(VerifyConfig(folder=str(FIXTURES)))
    assert result.counts["whole"] > 10
    assert "no checksum" in capsys.readouterr().out
    assert not [*FIXTURES.rglob(CHECKSUMS)]


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "run/checkpoints/step_00000002/state.pt": (flipped, "damaged"),
    "run/checkpoints/step_00000002/manifest.json": (Path.unlink, "missing"),
    "run/weights/latest/model.safetensors": (flipped, "damaged"),
    "run/weights/latest/README.md": (shortened, "changed"),
    "run/weights/best/config.json": (shortened, "damaged"),
    "run/metrics.csv": (shortened, "changed"),
    "run/cases.csv": (shortened, "changed"),
    "run/config.yaml": (lambda path: path.write_text(f"{path.read_text()}# mine\n"), "changed"),
    "run/summary.json": (Path.unlink, "missing"),
    "run/metrics.csv*": (Path.unlink, "missing"),
    "run/weights/best/model.safetensors": (Path.unlink, "missing"),
    "run/report/full/compare_other/compare.csv": (shortened, "changed"),
    "run/report/full/compare_other/compare.json": (shortened, "damaged"),
    "run/report/full/compare_other/compare.html": (Path.unlink, "missing"),
    "run/progress.png": (flipped, "damaged"),
    "run/report/full/scores.csv": (shortened, "damaged"),
    "run/report/full/summary.json": (shortened, "damaged"),
    "run/report/full/cases/*.png": (flipped, "damaged"),
    "look/cases.csv": (shortened, "changed"),
    "look/montage.png": (flipped, "damaged"),
    "look/summary.json": (Path.unlink, "missing"),
    "latents/manifest.csv": (shortened, "damaged"),
    "latents/statistics.json": (
        lambda path: path.write_text(path.read_text().replace("0", "1", 1)), "changed",
    ),
    "latents/cases/*/*": (flipped, "damaged"),
    "store/cases/*/*": (flipped, "damaged"),
    "store/catalog.sqlite": (flipped, "damaged"),
    "store/store.json": (shortened, "damaged"),
    f"store/{CHECKSUMS}": (shortened, "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, state = DAMAGES[name]
    path = sorted(copy.glob(name))[0]
    damage(path)
    top = copy / name.split("/")[0]
    with pytest.raises(DamageError, match=f"1 file {state}") as caught:
        verify(VerifyConfig(folder=str(top)))
    assert caught.value.exit_code == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith(f"{state}: {path}: ")]


@pytest.mark.parametrize(
    "name",
    ["run/config.yaml", "run/report/full/scores.csv", "latents/latents.json", "store/store.json"],
)
def test_a_folder_without_the_file_that_marks_it_is_not_whole(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(DamageError, match="1 file missing"):
        verify(VerifyConfig(folder=str(copy)))


def test_pictures_of_validations_are_checked(copy: Path) -> None:
    pictures = copy / "run/report/validation/cases"
    pictures.mkdir(parents=True)
    picture = next((copy / "run/report/full/cases").glob("*.png"))
    shutil.copy(picture, pictures / "a.png")
    assert verify(VerifyConfig(folder=str(copy))).is_whole
    flipped(pictures / "a.png")
    with pytest.raises(DamageError, match="1 file damaged"):
        verify(VerifyConfig(folder=str(copy)))


def test_temporary_files_of_latents_are_not_looked_at(copy: Path) -> None:
    file = next((copy / "latents").glob("cases/*/*.safetensors"))
    shutil.copy(file, file.with_name(f".tmp-1-0123abcd-{file.name}"))
    assert verify(VerifyConfig(folder=str(copy / "latents"))).is_whole


def test_runs_copied_with_hard_links_resume_and_leave_the_first_alone(copy: Path) -> None:
    run, other = copy / "run", copy / "other"
    shutil.copytree(run, other / "run", copy_function=os.link)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    train(tiny_training(other, trainer=tiny_trainer(steps=3, val_every=2)))
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert verify(VerifyConfig(folder=str(other))).is_whole


def test_runs_far_below_are_found(copy: Path, tmp_path: Path) -> None:
    deep = tmp_path.joinpath("deep", *"abcdefghij")
    shutil.copytree(copy / "run", deep / "run")
    result = verify(VerifyConfig(folder=str(tmp_path / "deep")))
    assert result.kinds["checkpoint"] >= 1
    assert result.kinds["weight folder"] == 2


def test_an_edited_file_can_be_accepted(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    latents = copy / "latents"
    statistics = json.loads((latents / "statistics.json").read_text())
    shortened(latents / "manifest.csv")
    entries = read_manifest(latents)
    assert f"{latents / 'manifest.csv'}: was changed after" in caplog.messages[0]
    assert f"lists {len(entries)} latents" in caplog.messages[1]
    statistics["of_this_folder"]["cases"] = len(entries)
    (latents / "statistics.json").write_text(json.dumps(statistics))
    config = VerifyConfig(folder=str(latents))
    with pytest.raises(DamageError, match="2 files changed"):
        verify(config)
    assert verify(VerifyConfig(folder=str(latents), accept=True)).is_whole
    assert verify(config).is_whole


def test_a_text_file_that_was_removed_can_be_accepted(copy: Path) -> None:
    removed = ("run/cases.csv", "run/metrics.csv", "run/weights/best/README.md",
               "latents/statistics.json")  # fmt: skip
    for name in removed:
        (copy / name).unlink()
    config = VerifyConfig(folder=str(copy))
    with pytest.raises(DamageError, match="4 files missing"):
        verify(config)
    assert verify(VerifyConfig(folder=str(copy), accept=True)).is_whole
    assert verify(config).is_whole


@pytest.mark.parametrize(
    "name",
    ["run/config.yaml", "latents/manifest.csv", "store/store.json", "run/report/full/scores.csv"],
)
def test_what_a_folder_needs_cannot_be_accepted_as_removed(copy: Path, name: str) -> None:
    (copy / name).unlink()
    for _ in range(2):
        with pytest.raises(DamageError, match="1 file missing"):
            verify(VerifyConfig(folder=str(copy), accept=True))


def test_nothing_to_verify_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vae3d verify FOLDER"):
        verify(VerifyConfig())
    with pytest.raises(DataError, match="no such folder"):
        verify(VerifyConfig(folder=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="is no folder"):
        verify(VerifyConfig(folder=__file__))
    with pytest.raises(DataError, match="holds nothing that vae3d wrote"):
        verify(VerifyConfig(folder=str(tmp_path)))


def test_a_run_resumes_without_its_metrics_and_cases(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = copy / "run"
    (run / "metrics.csv").unlink()
    for name in ("metrics.csv", "cases.csv.gone", "status.json.gone"):
        (run / name).mkdir()
    for name in ("cases.csv", "status.json"):
        (run / name).unlink()
        (run / f"{name}.gone").rename(run / name)
    config = tiny_training(copy, trainer=tiny_trainer(steps=3, val_every=2))
    train(config)
    text = "\n".join(caplog.messages)
    for name in ("cases.csv", "status.json"):
        assert f"{name}: is no file; it is now {name}.damaged" in text
    assert "metrics.csv: is a folder, not a file" in text
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    assert json.loads((run / "status.json").read_text())["state"] == "finished"
    # What was mended is recorded as it is now.
    result = verify(VerifyConfig(folder=str(run / "checkpoints")))
    assert result.is_whole


def test_the_command_ends_with_its_code(copy: Path) -> None:
    flipped(copy / "run" / "checkpoints" / "step_00000002" / "state.pt")
    done = vae3d("verify", "run", cwd=copy)
    assert done.returncode == 3
    assert "damaged: run/checkpoints/step_00000002/state.pt: " in done.stdout
    assert done.stderr.startswith("vae3d: run: 1 file damaged")
    assert len(done.stderr.splitlines()) == 1
    assert vae3d("verify", "folder=latents", cwd=copy).returncode == 0
