"""Nothing is read, written or deleted outside of the folders that the user named."""

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import copied, tiny_training
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.prepare import PrepareConfig
from vae3d.commands.prepare_run import prepare
from vae3d.commands.train_run import train
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig, RunData, StoreConfig
from vae3d.errors import DataError, UserError, VolumeError
from vae3d.files import links
from vae3d.latents.dataset import LatentDataset
from vae3d.logger.console import ProgressBar
from vae3d.store.arrays import array_file, open_array

SILENT = ProgressBar("prepare", shown=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of three scans, beside their folder and a file that nobody may touch."""
    for number in range(3):
        path = tmp_path / f"scans/c{number}.nii"
        path.parent.mkdir(exist_ok=True)
        data = np.random.default_rng(number).integers(-900, 900, (8, 8, 8)).astype(np.int16)
        nib.save(nib.Nifti1Image(data, np.eye(4)), path)
    (tmp_path / "precious.txt").write_text("precious")
    open_cases(data_of(tmp_path), SILENT)
    return tmp_path / "store"


def data_of(folder: Path) -> CTConfig:
    return CTConfig(root=str(folder / "scans"), store=str(folder / "store"))


def rename_in_catalog(store: Path, file: str) -> None:
    """Make the catalog name another file for its first case."""
    with closing(sqlite3.connect(store / "catalog.sqlite")) as connection, connection:
        (text,) = connection.execute("SELECT record FROM records WHERE number = 0").fetchone()
        record = json.dumps({**json.loads(text), "file": file})
        connection.execute("UPDATE records SET record = ? WHERE number = 0", (record,))
        connection.execute("UPDATE cases SET file = ? WHERE number = 0", (file,))
    # Who writes a catalog can write its checksum too.
    (store / "checksums.json").unlink()


@pytest.mark.parametrize(
    "file",
    [
        "../precious.txt",
        "{folder}/precious.txt",
        "cases/../../precious.txt",
        "cases/../store.json",
        "store.json",
        "catalog.sqlite",
        "",
        ".",
        "cases",
        "..",
        "/dev/zero",
        "/etc/passwd",
        "other",
        "link/precious.txt",
        "\x00",
        "\u202eb2nd",
    ],
)
def test_a_catalog_names_the_files_of_its_cases_only(file: str, store: Path) -> None:
    folder = store.parent
    (store / "link").symlink_to(folder)
    name = array_file("c1", "lz4") if file == "other" else file.format(folder=folder)
    rename_in_catalog(store, name)
    before = {path: path.read_bytes() for path in (folder / "precious.txt", store / "store.json")}
    with pytest.raises(DataError, match="is not the file of 'c0'"):
        open_cases(StoreConfig(root=str(store)), SILENT)[0]
    with pytest.raises(UserError, match=r"is not the file of 'c0'|is a link"):
        prepare(PrepareConfig(data=data_of(folder), verify=True))
    assert all(path.read_bytes() == content for path, content in before.items())


@pytest.mark.parametrize("catalog", [True, False])
@pytest.mark.parametrize("place", ["cases", "cases/zz", "parts"])
def test_a_store_follows_no_link(place: str, catalog: bool, store: Path) -> None:
    target = store.parent / "elsewhere"
    target.mkdir()
    for name in ("precious.txt", "a.jsonl", ".hidden", ".tmp-1-ab-x"):
        (target / name).write_text("precious")
    if (store / place).is_dir():
        shutil.rmtree(store / place)
    (store / place).symlink_to(target)
    if not catalog:
        (store / "catalog.sqlite").unlink()
    # One scan more, so that the store must be written.
    shutil.copy(store.parent / "scans/c0.nii", store.parent / "scans/d.nii")
    with pytest.raises(DataError, match=f"{place}: is a link, and none is followed"):
        open_cases(data_of(store.parent), SILENT)
    assert {path.read_text() for path in target.iterdir()} == {"precious"}
    assert len([*target.iterdir()]) == 4


def test_an_array_that_is_a_link_is_not_read(store: Path) -> None:
    array = store / array_file("c0", "lz4")
    array.rename(store.parent / "moved.b2nd")
    array.symlink_to(store.parent / "moved.b2nd")
    with pytest.raises(DataError, match="is a link"):
        open_cases(StoreConfig(root=str(store)), SILENT)[0]


def test_a_whole_store_may_be_a_link(store: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(store)
    cases = open_cases(StoreConfig(root=str(tmp_path / "linked")), SILENT)
    assert cases[0].volume().shape == (8, 8, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_training(tmp_path_factory.mktemp("trained")))


PLACES = ["checkpoints", "weights", "weights/best", "report", "report/full", "nonfinite"]


@pytest.mark.parametrize("place", PLACES)
def test_a_run_follows_no_link(place: str, trained: Path, tmp_path: Path) -> None:
    run, target = copied(trained, tmp_path), tmp_path / "elsewhere"
    original = run / place
    original.parent.mkdir(exist_ok=True)
    shutil.move(original, target) if original.exists() else target.mkdir()
    (target / "scores.csv").write_text("precious")
    original.symlink_to(target)
    before = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    with pytest.raises(UserError, match=f"{place}: is a link"):
        train(tiny_training(tmp_path))
    with pytest.raises(UserError, match=f"{place}: is a link"):
        evaluate(EvalConfig(run=str(run)))
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == before


@pytest.mark.parametrize("place", ["cases", "cases/00", "nifti"])
def test_latents_follow_no_link(place: str, trained: Path, tmp_path: Path) -> None:
    output, target = tmp_path / "latents", tmp_path / "elsewhere"
    config = EncodeConfig(run=str(trained), output=str(output), device="cpu")
    encode(config)
    target.mkdir()
    original = output / place
    if original.is_dir():
        shutil.rmtree(original)
    original.symlink_to(target)
    with pytest.raises(UserError, match=f"{place}: is a link"):
        encode(config)
    assert not [*target.iterdir()]
    if place == "cases":
        with pytest.raises(DataError, match="is a link"):
            LatentDataset(output)[0]


def test_a_whole_run_may_be_a_link(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(trained)
    assert evaluate(EvalConfig(run=str(tmp_path / "linked"), output=str(tmp_path / "out"))).cases


@pytest.mark.parametrize("place", ["elsewhere", "store"])
def test_the_store_that_a_run_names_is_read_and_not_written(
    place: str, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = replace(data_of(tmp_path), test_fraction=0.5, split_rule="count")
    run = train(tiny_training(tmp_path, data=data))
    settings = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(settings.replace(str(store), str(tmp_path / place)))
    # The scans grew: the store is no longer up to date, and its catalog would be written again.
    shutil.copy(tmp_path / "scans/c0.nii", tmp_path / "scans/zz.nii")
    before = tree(tmp_path, run)
    evaluate(EvalConfig(run=str(run)))
    assert tree(tmp_path, run) == before
    assert (
        f"data.store={tmp_path / place}, of the run's settings, is not up to date" in caplog.text
    )
    assert f"data.root={tmp_path / 'scans'}, of the settings of {run}" in caplog.text
    chosen = RunData(store=str(tmp_path / place))
    evaluate(EvalConfig(run=str(run), data=chosen))
    assert tree(tmp_path, run) != before


def tree(folder: Path, without: Path) -> dict[Path, tuple[int, bytes]]:
    """All files with their times and contents, but for those of one folder."""
    files = [p for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(without)]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_link_that_is_put_there_meanwhile_is_not_followed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store / array_file("c0", "lz4")
    path.parent.rename(tmp_path / "elsewhere")
    path.parent.symlink_to(tmp_path / "elsewhere")
    # Whoever looked before saw no link.
    monkeypatch.setattr(links, "check_inside", lambda _, checked: checked)
    with pytest.raises(VolumeError, match="is damaged"):
        open_array(path, folder=store)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        links.remove_inside(store, path)
    assert (tmp_path / "elsewhere" / path.name).exists()
    array, _ = open_array(store / array_file("c1", "lz4"), folder=store)
    assert array.shape == (1, 8, 8, 8)
