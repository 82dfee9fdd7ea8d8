"""`vae3d decode` and `reconstruct` after a kill, an error, or their end, and on several ranks."""

from pathlib import Path
from typing import Any

import pytest

from tests.commands.decoding import contents, decoded, encoded, reconstructed
from tests.conftest import run_distributed
from vae3d.errors import ConfigError, DataError, VolumeError
from vae3d.scans.outputs import Outputs


def test_existing_files_are_not_overwritten_by_default(run: Path, scan_folder: Path) -> None:
    latents = encoded(run)
    folder = decoded(run, latents)
    before = contents(folder)
    with pytest.raises(DataError, match="exists already; existing=skip"):
        decoded(run, latents, seed=1)
    with pytest.raises(DataError, match="exists already"):
        reconstructed(run, scan_folder, "scans")
    (folder / "1.nii.gz").unlink()
    (folder / "2.nii.gz").write_bytes(b"mine")
    decoded(run, latents, existing="skip")
    assert contents(folder) == {**before, "2.nii.gz": b"mine"}
    decoded(run, latents, existing="replace")
    assert contents(folder) == before
    with pytest.raises(ConfigError, match="is one file for 3"):
        decoded(run, latents, "one.nii.gz")


def test_a_scan_that_cannot_be_read_is_named_or_skipped(
    run: Path, scan_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scan_folder / "1.nii.gz").write_bytes((scan_folder / "1.nii.gz").read_bytes()[:200])
    with pytest.raises(VolumeError, match=r"1\.nii\.gz"):
        reconstructed(run, scan_folder)
    folder = reconstructed(run, scan_folder, "rest", on_error="skip")
    assert "skipped" in capsys.readouterr().err
    assert {*contents(folder)} == {"0.nii.gz", "2.nii.gz"}
    with pytest.raises(DataError, match="none of the cases can be reconstructed"):
        reconstructed(run, scan_folder / "1.nii.gz", "none", on_error="skip")


def _decoded_by_ranks(rank: int, folder: Path) -> None:
    decoded(folder / "run", folder / "latents", "by_two")


def _reconstructed_by_ranks(rank: int, folder: Path) -> None:
    reconstructed(folder / "run", folder / "scans", "again_by_two")


def test_two_ranks_write_what_one_does(run: Path) -> None:
    expected = contents(decoded(run, encoded(run)))
    run_distributed(_decoded_by_ranks, run.parent, 2)
    assert contents(run.parent / "by_two") == expected
    run_distributed(_reconstructed_by_ranks, run.parent, 2)
    assert contents(run.parent / "again_by_two") == expected


def killed_at(monkeypatch: pytest.MonkeyPatch, name: str, run: Path, scans: Path) -> None:
    """Kill a reconstruction before it writes a case."""

    def killed(outputs: Outputs, *given: Any) -> None:
        if name in [item for item in given if isinstance(item, str)]:
            raise KeyboardInterrupt
        write(outputs, *given)

    write = Outputs.write
    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            reconstructed(run, scans)


@pytest.mark.parametrize("change", ["nothing", "settings"])
def test_only_the_same_command_resumes(
    run: Path, scan_folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    expected = contents(reconstructed(run, scan_folder, "whole"))
    killed_at(monkeypatch, "1", run, scan_folder)
    again = run.parent / "again"
    assert {path.name for path in again.iterdir()} == {".unfinished", "0.nii.gz"}
    if change == "nothing":
        assert contents(reconstructed(run, scan_folder)) == expected
        assert {*contents(again)} == {path.name for path in again.iterdir()} - {".finished"}
        return
    with pytest.raises(DataError, match=r"0\.nii\.gz: exists already"):
        reconstructed(run, scan_folder, seed=1)


def test_a_case_whose_scan_was_replaced_is_done_again_and_others_are_kept(
    run: Path, scan_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(monkeypatch, "2", run, scan_folder)
    again = run.parent / "again"
    kept = (again / "1.nii.gz").stat().st_mtime_ns
    (scan_folder / "0.nii.gz").write_bytes((scan_folder / "2.nii.gz").read_bytes())
    # A second kill: what is there now must not be taken for what the new scan becomes.
    killed_at(monkeypatch, "0", run, scan_folder)
    reconstructed(run, scan_folder)
    assert (again / "1.nii.gz").stat().st_mtime_ns == kept
    assert contents(again) == contents(reconstructed(run, scan_folder, "whole"))


def test_a_broken_scan_that_is_replaced_lets_the_command_resume(
    run: Path, scan_folder: Path
) -> None:
    whole = (scan_folder / "2.nii.gz").read_bytes()
    (scan_folder / "2.nii.gz").write_bytes(whole[:200])
    with pytest.raises(VolumeError, match=r"2\.nii\.gz"):
        reconstructed(run, scan_folder)
    assert (run.parent / "again" / "1.nii.gz").exists()
    (scan_folder / "2.nii.gz").write_bytes(whole)
    assert {*contents(reconstructed(run, scan_folder))} == {f"{n}.nii.gz" for n in range(3)}


def test_the_same_command_ends_quietly_once_it_has_finished(
    run: Path, scan_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latents = encoded(run)
    for write in (lambda: decoded(run, latents), lambda: reconstructed(run, scan_folder)):
        folder = write()
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert folder / ".finished" in before
        write()
        assert "is finished, 3 exist already" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        # A file that was lost is written again; one that is another now is not overwritten.
        (folder / "0.nii.gz").unlink()
        write()
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
        (folder / "0.nii.gz").write_bytes(b"mine")
        with pytest.raises(DataError, match=r"0\.nii\.gz: exists already"):
            write()
    one = run.parent / "one.nii.gz"
    for _ in range(2):
        reconstructed(run, scan_folder / "1.nii.gz", "one.nii.gz")
    assert one.with_name(".one.nii.gz.finished").exists()
