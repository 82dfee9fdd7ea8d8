"""A preparation that was killed, repeated, divided or refused makes the same store."""

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command_server import COMMANDS, CommandServer
from tests.conftest import ROOT, vae3d
from tests.data.stores import SHAPES, SILENT, contents, preparation, write_scans
from vae3d.data.build import open_cases
from vae3d.data.check import check_values
from vae3d.data.config import CTConfig
from vae3d.data.run_cases import listed
from vae3d.errors import DataError, VolumeError
from vae3d.store import case_writer, catalog, prepare
from vae3d.store.catalog import CaseRecord, Catalog, Journal
from vae3d.store.settings import CATALOG
from vae3d.store.shard import Shard


def test_kill_9_in_the_middle_leaves_no_trace(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    for number in range(40):
        shutil.copy2(scans / f"case{number % 6}.nii.gz", scans / f"copy{number:02d}.nii.gz")
    arguments = ["prepare", "data=ct", f"data.root={scans}"]
    arguments += [f"data.store={tmp_path / 'killed'}", "workers=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills = 0
    for wanted in (3, 11, 25):
        command = COMMANDS.start(arguments, tmp_path, environment)
        while command.runs():
            if len([*(tmp_path / "killed").glob("cases/??/*.b2nd")]) >= wanted:
                os.kill(command.pid, signal.SIGKILL)  # its workers must notice
                break
            time.sleep(0.001)
        kills += command.completed(300).returncode == -signal.SIGKILL
    assert kills >= 2, "the preparation was too fast to be killed"
    assert vae3d(*arguments, cwd=tmp_path).returncode == 0
    whole = CTConfig(root=str(scans), store=str(tmp_path / "whole"))
    preparation(whole).run()
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_parts_make_the_same_store(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "parts"))
    for index in range(3):
        preparation(config, shard=Shard(index, 3)).run()
        assert not (tmp_path / "parts" / CATALOG).exists()
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("cases/??/*")}
    assert len(written) == len(SHAPES)
    preparation(config).run()
    assert written == {path: path.stat().st_mtime_ns for path in written}, (
        "no case is prepared twice"
    )
    preparation(CTConfig(root=str(scans), store=str(tmp_path / "whole"))).run()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_only_a_changed_source_is_prepared_again(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    preparation(config).run()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("cases/??/*")}
    fingerprint = Catalog(tmp_path / "s" / CATALOG).fingerprint
    assert preparation(config).is_fresh()
    shutil.copy(scans / "case4.nii.gz", scans / "case0.nii.gz")
    (scans / "case3.nii.gz").unlink()
    assert not preparation(config).is_fresh()
    cases = open_cases(config, SILENT)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").glob("cases/??/*")}
    assert len(after) == len(before) - 1
    assert sum(before[path] != stamp for path, stamp in after.items()) == 1
    assert cases[0].shape == SHAPES[4]
    assert Catalog(tmp_path / "s" / CATALOG).fingerprint != fingerprint


def test_a_list_may_move_a_case_to_another_split(tmp_path: Path) -> None:
    write_scans(tmp_path / "in", count=3)
    table = tmp_path / "cases.csv"
    config = CTConfig(root=str(tmp_path / "in"), list=str(table), store=str(tmp_path / "s"))
    for splits in (("train", "val", "test"), ("test", "train", "train")):
        rows = [f"case{number}.nii.gz,{split}" for number, split in enumerate(splits)]
        table.write_text("\n".join(["path,split", *rows]))
        splits_now = open_cases(config, SILENT).splits
        assert {name: members.tolist() for name, members in splits_now.items()} == {
            name: [i for i, split in enumerate(splits) if split == name] for name in splits_now
        }


def test_a_case_that_cannot_be_read_is_logged_and_tried_again(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    whole = (scans / "case1.nii.gz").read_bytes()
    (scans / "case1.nii.gz").write_bytes(whole[:-40])
    arguments = ["prepare", "data=ct", f"data.root={scans}", f"data.store={tmp_path / 's'}"]
    strict = vae3d(*arguments, cwd=tmp_path)
    assert strict.returncode == 2
    assert "1 of 6 cases cannot be used" in strict.stderr.splitlines()[-1]
    assert "case1.nii.gz" in strict.stdout
    tolerant = vae3d(*arguments, "data.on_error=skip", cwd=tmp_path)
    assert tolerant.returncode == 0
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    cases = open_cases(config, SILENT)
    split = next(name for name, members in cases.splits.items() if 1 in members)
    with pytest.raises(VolumeError, match=r"case1\.nii\.gz.*truncated"):
        cases.survey(split)
    (scans / "case1.nii.gz").write_bytes(whole)
    assert 1 in open_cases(config, SILENT).survey(split)


def test_other_settings_and_other_folders_are_refused(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in", count=2)
    folder = str(tmp_path / "s")
    preparation(CTConfig(root=str(scans), store=folder)).run()
    with pytest.raises(DataError, match=r"other settings.*spacing"):
        preparation(CTConfig(root=str(scans), store=folder, spacing=(3.0, 3.0, 3.0))).run()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match="holds files that are no store"):
        preparation(CTConfig(root=str(scans), store=str(tmp_path / "mine"))).run()
    assert [path.name for path in (tmp_path / "mine").iterdir() if path.is_file()] == [
        "thesis.txt"
    ]


def test_opening_a_store_parses_statistics_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are read one by one when a case is used, however many there are."""
    config = CTConfig(root=str(write_scans(tmp_path / "in")), store=str(tmp_path / "s"))
    preparation(config).run()
    records = [*Catalog(tmp_path / "s" / CATALOG).records()]
    monkeypatch.setattr(catalog, "checked_record", lambda values: pytest.fail("a whole record"))
    cases = open_cases(config, SILENT)
    assert cases.survey("train").size
    check_values(cases)
    assert [case.case_id for case in listed(cases)] == [record.case_id for record in records]
    expected = [(record.case_id, record.statistics) for record in records]
    assert [*Catalog(tmp_path / "s" / CATALOG).all_statistics()] == expected
    assert [cases.statistics(i) for i in range(len(expected))] == [
        values for _, values in expected
    ]


@pytest.mark.parametrize("free", [case_writer.RESERVE + 100_000, 10], ids=["estimated", "full"])
def test_a_disk_too_small_stops_it_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    scans = write_scans(tmp_path / "in")
    for number in range(30):
        shutil.copy2(scans / "case0.nii.gz", scans / f"copy{number:02d}.nii.gz")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"))
    with monkeypatch.context() as patched:
        for module in (prepare, case_writer):
            patched.setattr(module, "free_bytes", lambda folder: free)
        with pytest.raises(DataError, match="make room"):
            preparation(config).run()
    assert not (tmp_path / "s" / CATALOG).exists()
    preparation(config).run()
    assert preparation(config).is_fresh()


def test_other_settings_are_refused_key_by_key(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    config = CTConfig(root=str(scans), store=str(tmp_path / "s"), reader=1)
    preparation(config).run()
    message = (
        r"with other settings \(nonfinite: fail -> fill; data\.reader: 1 -> 2; "
        r"data\.channel: null -> 0\); type"
    )
    with pytest.raises(DataError, match=message):
        preparation(replace(config, reader=None, channel=0, nonfinite="fill")).run()


@pytest.mark.parametrize("name", [".tmp-1-0a-store.json", ".tmp-77-ab12cd34-catalog.sqlite"])
@pytest.mark.parametrize("kept", [[], ["store.json"]])
def test_what_a_kill_left_is_swept(tmp_path: Path, name: str, kept: list[str]) -> None:
    config = CTConfig(root=str(write_scans(tmp_path / "in")), store=str(tmp_path / "s"))
    preparation(config).run()
    sound = contents(tmp_path / "s")
    for path in (tmp_path / "s").iterdir():
        if path.name not in kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (tmp_path / "s/parts").mkdir()
    (tmp_path / "s/parts/00000-of-00001.lock").touch()
    (tmp_path / "s" / name).write_text("{")
    preparation(config).run()
    assert contents(tmp_path / "s") == sound
    assert not [*(tmp_path / "s").glob(".tmp-*")]


def test_a_journal_forgives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "part.jsonl")
    records = [CaseRecord(f"c{i}", "here", "1:2", error="none") for i in range(3)]
    journal.append(records[0])
    journal.append(records[1])
    text = journal.path.read_bytes()
    journal.path.write_bytes(text[:-20])
    journal.append(records[2])
    assert [record.case_id for record in journal.records()] == ["c0", "c2"]


def test_two_concurrent_preparations_do_the_work_once(tmp_path: Path) -> None:
    scans = write_scans(tmp_path / "in")
    arguments = ["prepare", "data=ct", f"data.root={scans}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    second = CommandServer()
    both = [server.start(arguments, tmp_path, environment) for server in (COMMANDS, second)]
    done = [command.completed(300) for command in both]
    second.close()
    assert [(bool(d.stderr), d.returncode) for d in done] == [(True, 0)] * 2
    (store,) = (tmp_path / "stores").iterdir()
    preparation(CTConfig(root=str(scans), store=str(tmp_path / "whole"))).run()
    assert contents(tmp_path / "whole") == contents(store)
