"""Stores, runs, weights and latents of somebody hostile, through the commands that open them.

Each is a good folder with one change. Whatever it says, a command writes, renames and deletes
nothing outside of the folders that were named, ends within seconds, and with one line if it is
refused.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import tiny_model, tiny_trainer
from vae3d.cli import main
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.patching.config import RandomPatchesConfig
from vae3d.run.config import TrainConfig
from vae3d.store.arrays import array_file

Change = Callable[[Path], object]
SECONDS = 20
"""A command that takes longer hangs."""
CATALOG = "store/catalog.sqlite"
BEST = "runs/run/weights/best"
CONFIG = "runs/run/config.yaml"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scans, a store, a run with a report, latents, and files of someone else beside them."""
    folder = tmp_path_factory.mktemp("world")
    for number in range(4):
        data = np.random.default_rng(number).integers(-900, 900, (8, 8, 8)).astype(np.int16)
        (folder / "scans").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data, np.eye(4)), folder / f"scans/c{number}.nii")
    (folder / "precious/cases").mkdir(parents=True)
    for name in ("text.txt", ".tmp-1-0123abcd-x", "a.jsonl", "scores.csv", "cases/c.b2nd"):
        (folder / "precious" / name).write_text("precious")
    run = train(
        TrainConfig(
            name="run",
            runs_dir=str(folder / "runs"),
            data=CTConfig(root=str(folder / "scans"), store=str(folder / "store"),
                          split_rule="count", test_fraction=0.25, val_fraction=0.25),
            patching=RandomPatchesConfig(size=(8,), per_volume=2),
            model=tiny_model(),
            trainer=tiny_trainer(steps=2, val_every=2, keep_checkpoints=2),
            evaluation=EvaluationConfig(media=[], report=False),
        )
    )  # fmt: skip
    media = EvaluationConfig(media=[], report=False)
    evaluate(EvalConfig(run=str(run), evaluation=media))
    encode(EncodeConfig(run=str(run), output=str(folder / "latents"), device="cpu"))
    return folder


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Path:
    """A copy of the world, whose run names the scans and the store of the copy."""
    copy = tmp_path / "world"
    shutil.copytree(world, copy)
    settings = copy / CONFIG
    settings.write_text(settings.read_text().replace(str(world), str(copy)))
    # Who changes a file on purpose changes its checksum, too.
    for sums in copy.rglob("checksums.json"):
        sums.unlink()
    return copy


def link(name: str, to: str = "precious/text.txt") -> Change:
    """A link in place of a file or a folder."""

    def change(place: Path) -> None:
        remove(place / name)
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(place / to)

    return change


def hard_link(name: str) -> Change:
    """A hard link in place of a file."""

    def change(place: Path) -> None:
        remove(place / name)
        (place / name).hardlink_to(place / "precious/text.txt")

    return change


def pipe(name: str) -> Change:
    """A pipe in place of a file."""

    def change(place: Path) -> None:
        remove(place / name)
        os.mkfifo(place / name)

    return change


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def text(name: str, pattern: str, new: str) -> Change:
    """Another text in place of what a pattern finds; `{place}` is the folder."""

    def change(place: Path) -> None:
        path = place / name
        old = path.read_text()
        changed = re.sub(pattern, lambda _: new.replace("{place}", str(place)), old, flags=re.M)
        assert changed != old
        path.write_text(changed)

    return change


def manifest(pattern: str, new: str) -> Change:
    """`text` of the latents' manifest."""
    return text("latents/manifest.csv", pattern, new)


def content(name: str, data: bytes) -> Change:
    """A file of these bytes."""
    return lambda place: (place / name).write_bytes(data)


def keys(name: str, **values: object) -> Change:
    """Other values of keys of a JSON file."""

    def change(place: Path) -> None:
        path = place / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def sql(*statements: str) -> Change:
    """Statements that are run on the catalog of the store."""

    def change(place: Path) -> None:
        with closing(sqlite3.connect(place / CATALOG)) as database, database:
            for statement in statements:
                database.execute(statement)

    return change


def record(**values: object) -> Change:
    """Other values in the record of the store's first case, and in its columns of that name."""

    def change(place: Path) -> None:
        plain = {
            key: value.replace("{place}", str(place)) if isinstance(value, str) else value
            for key, value in values.items()
        }
        with closing(sqlite3.connect(place / CATALOG)) as database, database:
            (old,) = database.execute("SELECT record FROM records WHERE number = 0").fetchone()
            new = json.dumps({**json.loads(old), **plain})
            database.execute("UPDATE records SET record = ? WHERE number = 0", (new,))
            for key in {"case_id", "file", "stamp", "error"} & plain.keys():
                row = f"UPDATE cases SET {key} = ? WHERE number = 0"
                database.execute(row, (plain[key],))

    return change


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i"
STORES: dict[str, Change] = {
    "the folder of arrays is a link": link("store/cases", "precious/cases"),
    "a folder of arrays is a link": link("store/cases/zz", "precious/cases"),
    "the folder of journals is a link": link("store/parts", "precious"),
    "an array is a link": link(f"store/{array_file('c0', 'lz4')}"),
    "an array is a pipe": pipe(f"store/{array_file('c0', 'lz4')}"),
    "the settings are a link": link("store/store.json"),
    "the settings are a pipe": pipe("store/store.json"),
    "the catalog is a link": link("store/catalog.sqlite"),
    "the catalog is a pipe": pipe("store/catalog.sqlite"),
    "a lock is a link": link("store/parts/00000-of-00001.lock"),
    "a lock is a hard link": hard_link("store/parts/00000-of-00001.lock"),
    "a journal is a link": link("store/parts/00000-of-00001.jsonl"),
    "a journal is a hard link": hard_link("store/parts/00000-of-00001.jsonl"),
    "a journal is a pipe": pipe("store/parts/00000-of-00001.jsonl"),
    "what looks left over is a link to a folder": link("store/.tmp-1-0123abcd-x", "precious"),
    "what looks replaced is a link to a folder": link("store/.old-1-0123abcd-x", "precious"),
    "a file above": record(file="../precious/text.txt"),
    "an absolute file": record(file="{place}/precious/text.txt"),
    "a file through a folder": record(file="cases/../../precious/text.txt"),
    "a device": record(file="/dev/zero"),
    "the file of another case": record(file=array_file("c1", "lz4")),
    "a case named as a path": record(case_id="../../precious/text.txt"),
    "a case named as nothing": record(case_id=""),
    "a case with a name of zero bytes": record(case_id="a\x00b"),
    "an error that is long": record(error="x" * 10**6, file=None),
    "an array of 10^18 voxels": record(shape=[10**6] * 3),
    "an array of no voxel": record(shape=[0, 8, 8]),
    "an array of negative size": record(shape=[-8, 8, 8]),
    "an affine of nothing": record(affine=[]),
    "an affine that is not finite": record(affine=[[1e400] * 4] * 4),
    "a type that is code": record(dtype="O"),
    "10^9 channels": record(channels=10**9),
    "a record that is a list": sql("UPDATE records SET record = '[1]'"),
    "a record that is deep": sql(f"UPDATE records SET record = '{'[' * 9999}'"),
    "no record": sql("DELETE FROM records"),
    "a view without an end": sql(
        "DROP TABLE records",
        f"CREATE VIEW records AS {ENDLESS} AS number, 'x' AS record FROM n",
    ),
    "cases without an end": sql(
        "ALTER TABLE cases RENAME TO hidden",
        f"CREATE VIEW cases AS {ENDLESS} AS number, 'c' AS case_id, NULL AS split, 0 AS rank, "
        "'' AS stamp, NULL AS file, '8x8x8' AS shape, NULL AS error, '' AS voxels, "
        "'' AS geometry FROM n",
    ),
    "a column that is computed": sql(
        "ALTER TABLE cases ADD COLUMN big GENERATED ALWAYS AS (hex(zeroblob(500000000)))"
    ),
    "a trigger": sql("CREATE TRIGGER t AFTER INSERT ON cases BEGIN DELETE FROM cases; END"),
    "a format that is no number": sql("UPDATE about SET value = 'x' WHERE key = 'format'"),
    "a format of the future": sql("UPDATE about SET value = '99' WHERE key = 'format'"),
    "findings of other keys": sql("UPDATE about SET value = '[{\"a\": 1}]' WHERE key='findings'"),
    "no fingerprint": sql("DELETE FROM about WHERE key = 'fingerprint'"),
    "settings that name code": keys("store/store.json", _target_="os.system"),
    "settings of another axis": keys("store/store.json", spatial_dims=10**9),
    "settings with a contract of text": keys("store/store.json", contract="x"),
    "settings without an end": content("store/store.json", b"[" * 10**6),
}  # fmt: skip

RUNS: dict[str, Change] = {
    "the checkpoints are a link": link("runs/run/checkpoints", "precious"),
    "a checkpoint is a link": link("runs/run/checkpoints/step_99999999", "precious"),
    "the weights are a link": link("runs/run/weights", "precious"),
    "the best weights are a link": link("runs/run/weights/best", "precious"),
    "the report is a link": link("runs/run/report", "precious"),
    "a report is a link": link("runs/run/report/full", "precious"),
    "the pictures are a link": link("runs/run/report/full/cases", "precious/cases"),
    "the settings are a link": link(CONFIG),
    "the settings are a pipe": pipe(CONFIG),
    "the cases are a link": link("runs/run/cases.csv"),
    "the cases are a pipe": pipe("runs/run/cases.csv"),
    "the metrics are a link": link("runs/run/metrics.csv"),
    "the metrics are a hard link": hard_link("runs/run/metrics.csv"),
    "the metrics are a pipe": pipe("runs/run/metrics.csv"),
    "the lock is a link": link("runs/run/.lock"),
    "the lock is a hard link": hard_link("runs/run/.lock"),
    "the lock is a pipe": pipe("runs/run/.lock"),
    "the status is a link": link("runs/run/status.json"),
    "what looks left over is a link": link("runs/run/.tmp-1-0123abcd-x", "precious"),
    "W&B's folder is a link": link("runs/run/wandb", "precious"),
    "the store is elsewhere": text(CONFIG, "store: .*", "store: {place}/precious"),
    "the list is a file of the system": text(
        CONFIG, "list: null", "list: /etc/passwd"
    ),
    "the list is a device": text(CONFIG, "list: null", "list: /dev/zero"),
    "the scans are a device": text(CONFIG, "root: .*", "root: /dev/zero"),
    "settings that name code": text(CONFIG, "^data:", "_target_: os.system\ndata:"),
    "settings with a tag": text(CONFIG, "seed: .*", "seed: !!python/name:os.system"),
    "settings with a variable": text(CONFIG, "root: .*", "root: ${oc.env:HOME}"),
    "plugins": text(CONFIG, "plugins: .*", "plugins: [antigravity]"),
    "cases named as paths": text("runs/run/cases.csv", "^c0", "../../precious/text.txt"),
    "a case of many letters": text("runs/run/cases.csv", "^c0", "c" * 10**5),
}  # fmt: skip

WEIGHTS: dict[str, Change] = {
    "the tensors are a link": link(f"{BEST}/model.safetensors"),
    "the tensors are a pipe": pipe(f"{BEST}/model.safetensors"),
    "the description is a link": link(f"{BEST}/config.json"),
    "the description is a pipe": pipe(f"{BEST}/config.json"),
    "a description that names code": keys(f"{BEST}/config.json", _target_="os.system"),
    "a description without an end": content(f"{BEST}/config.json", b'{"a":' * 10**5),
    "a contract of text": keys(f"{BEST}/config.json", contracts="x"),
    "a model of 10^12 parameters": text(
        f"{BEST}/config.json", '"channels": 8', '"channels": 1000000'
    ),
    "a format of the future": keys(f"{BEST}/config.json", format_version=99),
}  # fmt: skip

LATENTS: dict[str, Change] = {
    "the folder of files is a link": link("latents/cases", "precious"),
    "a folder of files is a link": link("latents/cases/zz", "precious"),
    "scans are a link": link("latents/nifti", "precious"),
    "the manifest is a link": link("latents/manifest.csv"),
    "the manifest is a pipe": pipe("latents/manifest.csv"),
    "the manifest names a file above": manifest("cases/[^,]*", "../scans/c0.nii"),
    "the manifest names an absolute file": manifest("cases/[^,]*", "/etc/passwd"),
    "the manifest names a device": manifest("cases/[^,]*", "/dev/zero"),
    "a case named as a path": manifest("^c0", "../../precious/text.txt"),
    "a grid of 10^30 voxels": manifest("8x8x8", "x".join(["9" * 10] * 3)),
    "statistics are a link": link("latents/statistics.json"),
    "statistics are a pipe": pipe("latents/statistics.json"),
    "settings are a link": link("latents/latents.json"),
    "settings are a pipe": pipe("latents/latents.json"),
    "the lock is a link": link("latents/.lock"),
    "the lock is a hard link": hard_link("latents/.lock"),
    "what looks left over is a link": link("latents/.tmp-1-0123abcd-x", "precious"),
}  # fmt: skip

QUICK = "evaluation.media=[] evaluation.report=false device=cpu"
PREPARE = "prepare data=ct data.root={place}/scans data.store={place}/store"
EVAL = f"eval run={{place}}/runs/run {QUICK}"
ENCODE = "encode run={place}/runs/run output={place}/latents device=cpu"
DECODE = "decode run={place}/runs/run input={place}/latents output={place}/decoded device=cpu"
COMMANDS = {
    "store": (
        "inspect data=store data.root={place}/store",
        f"{EVAL} data=store data.root={{place}}/store split=all output={{place}}/out",
        f"{PREPARE} data.split_rule=count data.test_fraction=0.25 data.val_fraction=0.25",
        f"{PREPARE} verify=true",
    ),
    "run": (
        "runs folder={place}/runs",
        "info run={place}/runs/run measure=false size=[8]",
        EVAL,
        "reconstruct run={place}/runs/run input={place}/scans/c0.nii output={place}/out.nii.gz "
        "device=cpu",
        "compare run=[{place}/runs/run,{place}/runs/run/report/full] output={place}/compared",
    ),
    "weights": ("info run={place}/runs/run measure=false size=[8]", EVAL, ENCODE),
    "latents": (DECODE, ENCODE),
}
OWN = {
    "store": ("store", "out"),
    "run": ("runs/run", "out", "compared", "out.nii.gz", ".out.nii.gz.finished"),
    "weights": ("runs/run", "latents"),
    "latents": ("latents", "decoded"),
}
"""What the commands may write: the hostile folder itself, and the outputs that were named."""
FOLDERS = {
    **{("store", name): change for name, change in STORES.items()},
    **{("run", name): change for name, change in RUNS.items()},
    **{("weights", name): change for name, change in WEIGHTS.items()},
    **{("latents", name): change for name, change in LATENTS.items()},
}


@contextmanager
def limited() -> Iterator[None]:
    """Raise an error where a command hangs, even in an `open` that waits."""

    def hang(*_: object) -> None:
        raise AssertionError(f"hangs for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def files(place: Path, without: tuple[str, ...]) -> Iterator[tuple[str, int, bytes]]:
    """Names, times and contents of all files that a command may not touch."""
    own = [place / name for name in without]
    for path in sorted(place.rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(
            path.is_relative_to(folder) for folder in own
        ):  # fmt: skip
            yield str(path), path.stat().st_mtime_ns, path.read_bytes()


@pytest.mark.parametrize(("kind", "name"), FOLDERS)
def test_a_hostile_folder_reaches_nothing_else(
    kind: str,
    name: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    FOLDERS[kind, name](place)
    before = [*files(place, OWN[kind])]
    for line in COMMANDS[kind]:
        arguments = line.replace("{place}", str(place)).split()
        monkeypatch.setattr("sys.argv", ["vae3d", *arguments])
        with limited():
            code = main()
        said = capfd.readouterr().err.strip()
        assert code in (0, 2, 4), said
        if code:
            assert len(said.splitlines()[-1]) < 1200
            assert said.splitlines()[-1].startswith("vae3d: ")
        assert "Traceback" not in said
        assert [*files(place, OWN[kind])] == before, line


def test_the_corpus_is_large() -> None:
    assert len(FOLDERS) >= 100
