"""`vae3d verify` names what is damaged, and the commands that use a folder name it too."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, tiny_trainer, tiny_training, vae3d
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.commands.decode import DecodeConfig
from vae3d.commands.decode_run import decode
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.commands.verify import VerifyConfig
from vae3d.commands.verify_run import verify
from vae3d.data.build import open_cases
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, DamageError, DataError, UnfinishedError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.files.checksums import CHECKSUMS
from vae3d.latents.file import SUFFIX
from vae3d.latents.folder import read_manifest
from vae3d.logger.console import ProgressBar
from vae3d.store.catalog import Catalog, Journal

FIXTURES = ROOT / "tests" / "fixtures" / "v0_1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a report, its latents and a store."""
    folder = tmp_path_factory.mktemp("made")
    run = train(tiny_training(folder, trainer=tiny_trainer(steps=2, val_every=2)))
    scores = EvaluationConfig(media=["png"], report=False)
    evaluate(EvalConfig(run=str(run), device="cpu", evaluation=scores))
    encode(EncodeConfig(run=str(run), output=str(folder / "latents"), device="cpu"))
    shutil.copytree(run, folder / "other")
    compare(CompareConfig(run=[str(run), str(folder / "other")]))
    decode(DecodeConfig(run=str(run), input=str(folder / "latents"), device="cpu",
                        output=str(folder / "decoded")))  # fmt: skip
    shutil.rmtree(folder / "other")
    data = SyntheticConfig(shape=(16, 16, 16), count=4, store=str(folder / "store"))
    open_cases(data, ProgressBar("prepare", shown=False))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def test_whole_folders_are_whole(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("run", "latents", "store", "decoded", "run/weights/latest", "run/report/full")
    for name in (*names, "run/report/full/compare_other", "."):
        result = verify(VerifyConfig(folder=str(copy / name)))
        assert result.is_whole
        assert result.counts["whole"] >= 2
    assert {*result.kinds} == {
        *("run", "checkpoint", "weight folder", "report", "latent folder", "store"),
        *("comparison", "output folder"),
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


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def shortened(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


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


GONE = {
    "run/weights": ("2 files missing", "run/weights/best: is missing; the run saved its best"),
    "run/weights/best": ("1 file missing", "run/weights/best: is missing"),
    "run/weights/latest": ("1 file missing", "run/weights/latest: is missing"),
    "run/checkpoints": ("1 file missing", "step_00000002: is missing; status.json names it"),
    "run/checkpoints/step_00000002": ("1 file missing", "checkpoints/latest names it"),
    "run/report/full/cases": ("1 file missing", "full/cases: is missing, with"),
    "latents/cases": ("1 file missing", "latents/cases: is missing, with 6 files"),
    "store/cases": ("1 file missing", "store/cases: is missing, with 4 files"),
    "store/cases/*": ("1 file missing", "is missing, with 1 file"),
}
"""Folders that are gone, and what is printed."""


@pytest.mark.parametrize("name", GONE)
def test_a_folder_that_is_gone_is_named(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict, line = GONE[name]
    shutil.rmtree(next(copy.glob(name)))
    with pytest.raises(DamageError, match=verdict) as caught:
        verify(VerifyConfig(folder=str(copy)))
    assert caught.value.exit_code == 3
    assert line in capsys.readouterr().out


@pytest.mark.parametrize("name", ["run/weights/best", "run/checkpoints/step_00000002"])
def test_a_folder_without_its_files_is_as_one_that_is_gone(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(copy / name)
    (copy / name).mkdir()
    with pytest.raises(DamageError, match="1 file missing"):
        verify(VerifyConfig(folder=str(copy)))
    assert f"missing: {copy / name}: holds none of its files" in capsys.readouterr().out


def test_checkpoints_that_newer_ones_replaced_are_not_missed(copy: Path) -> None:
    """`status.json` of a training that was killed names the checkpoint from which it began."""
    path = copy / "run/status.json"
    status = {**json.loads(path.read_text()), "state": "running", "last_checkpoint": 1}
    path.write_text(json.dumps(status))
    assert verify(VerifyConfig(folder=str(copy))).is_whole


def test_weights_without_a_record_are_said_to_be_checked_in_part(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = copy / "hub"
    hub.mkdir()
    for name in ("config.json", "model.safetensors"):
        # The hub's cache is made of links.
        (hub / name).symlink_to(copy / "run/weights/best" / name)
    assert verify(VerifyConfig(folder=str(hub))).is_whole
    out = capsys.readouterr().out
    assert f"no checksum: {hub / 'config.json'}: there is no checksums.json, as in weights" in out
    assert "model.safetensors is compared with config.json" in out


def without_the_end(copy: Path, name: str) -> Path:
    """A folder as a command leaves it that was killed before its end."""
    folder = copy / name
    if name == "latents":
        (folder / "manifest.csv").unlink()
    if name == "store":
        parts = folder / "parts"
        records = Catalog(folder / "catalog.sqlite").records()
        for record in records:
            Journal(parts / "00000-of-00001.jsonl").append(record)
        (folder / "catalog.sqlite").unlink()
    if name == "decoded":
        (folder / ".finished").rename(folder / ".unfinished")
    else:
        (folder / CHECKSUMS).unlink()
    return folder


@pytest.mark.parametrize("name", ["latents", "store", "decoded"])
def test_an_unfinished_folder_is_no_damage_and_its_files_are_verified(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = without_the_end(copy, name)
    with pytest.raises(UnfinishedError, match="1 folder unfinished") as caught:
        verify(VerifyConfig(folder=str(folder)))
    assert caught.value.exit_code == 75
    out = capsys.readouterr().out
    assert "the same command resumes it" in out
    assert "damaged" not in out
    scans = [path for path in folder.rglob("*.*") if path.suffix in (".b2nd", ".gz", SUFFIX)]
    assert f"whole: {len(scans)} files" in out
    flipped(scans[0])
    with pytest.raises(DamageError, match=r"1 file damaged.* 1 folder unfinished"):
        verify(VerifyConfig(folder=str(folder)))


def test_latents_to_which_cases_are_added_are_unfinished(copy: Path) -> None:
    (copy / "latents/.unfinished").touch()
    with pytest.raises(UnfinishedError):
        verify(VerifyConfig(folder=str(copy / "latents")))
    encode(EncodeConfig(run=str(copy / "run"), output=str(copy / "latents"), device="cpu"))
    assert verify(VerifyConfig(folder=str(copy / "latents"))).counts["unfinished"] == 0


def test_a_folder_that_a_command_writes_now_is_said_to_be_written(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae3d.verification.latents.is_held", lambda path: path.name == ".lock")
    with pytest.raises(UnfinishedError):
        verify(VerifyConfig(folder=str(without_the_end(copy, "latents"))))
    assert "vae3d encode is at work" in capsys.readouterr().out


def deny(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Refuse to list or to open anything at or below a place; this process may read everything."""
    original = {name: getattr(os, name) for name in ("scandir", "open", "stat")}

    def guarded(name: str) -> Callable[..., Any]:
        def act(path: Any, *arguments: Any, **named: Any) -> Any:
            inside = isinstance(path, str | Path) and Path(path).is_relative_to(place)
            if inside and (name != "stat" or Path(path) != place):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original[name](path, *arguments, **named)

        return act

    for name in original:
        monkeypatch.setattr(os, name, guarded(name))


@pytest.mark.parametrize(
    "name",
    [
        "run/weights",
        "run/config.yaml",
        "run/cases.csv",
        "run/weights/best/config.json",
        "run/weights/best/model.safetensors",
        "run/checkpoints/step_00000002/state.pt",
        "run/checkpoints/step_00000002/manifest.json",
        "run/report/full/scores.csv",
        "run/report/full/summary.json",
        "latents/manifest.csv",
        "latents/cases",
        "store/store.json",
        "store/catalog.sqlite",
        "store/cases",
        "decoded/*.nii.gz",
    ],
)
def test_what_may_not_be_read_is_named_and_the_rest_is_checked(
    copy: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = min(copy.glob(name))
    deny(monkeypatch, closed)
    with pytest.raises(DamageError, match="unreadable: ask for the right"):
        verify(VerifyConfig(folder=str(copy)))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("unreadable: ")]
    assert lines
    for line in lines:
        assert str(closed) in line
        assert "cannot be read (Permission denied)" in line
    assert not re.search("^(damaged|changed|missing)", out, re.MULTILINE)
    assert int(re.search(r"^whole: (\d+)", out, re.MULTILINE)[1]) > 10  # type: ignore[index]


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
