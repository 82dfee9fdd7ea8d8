"""No damaged file that has a checksum is used without a word.

Each trial damages one file of a kind and uses it as the commands do. It must be refused by name,
or be used with a warning that names it, or give what the sound file gives: then the damaged bytes
were not used.
"""

import gzip
import itertools
import json
import logging
import random
import shutil
import string
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT, tiny_trainer, tiny_training
from tests.faults.test_checkpoints import damaged, same
from vae3d.autoencoder.description import read_description
from vae3d.autoencoder.vae import CustomVAE
from vae3d.charts.history import History
from vae3d.checkpoints.folder import CheckpointFolder
from vae3d.checkpoints.recorded import damage_of_metrics, warn_of_metrics
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.comparison.pictures import _case
from vae3d.comparison.reader import read_report
from vae3d.data.build import open_cases
from vae3d.data.config import StoreConfig, SyntheticConfig
from vae3d.data.run_cases import RunCases
from vae3d.data.stored import StoredCases
from vae3d.errors import UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.facts import facts_of_training
from vae3d.files import checksums
from vae3d.files.atomic import file_digest
from vae3d.latents.claim import claimed_folder
from vae3d.latents.folder import read_entry, read_manifest, read_statistics
from vae3d.logger.console import ProgressBar
from vae3d.logger.csv import CsvLogger
from vae3d.logger.rows import Written
from vae3d.run.saved import load_config
from vae3d.runtime.run_folder import RunFolder
from vae3d.scans.files import read_volume
from vae3d.store.arrays import open_array
from vae3d.store.catalog import Catalog, write_catalog
from vae3d.store.settings import StoreSettings
from vae3d.verification.folder import verify

SILENT = ProgressBar("prepare", shown=False)
DAMAGES = ("bit", "digit", "line", "page", "cut", "garbage", "random", "another file")
STEP = 2


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and what a command reads from them.

    `top` is the folder that `vae3d verify` gets, None for files that stand alone. The checksum of
    some files covers what is read of them, not every byte: `by_content`.
    """

    files: str
    use: Callable[[Path], Any]
    top: str | None
    by_content: bool = False


def volumes(store: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        cases = open_cases(StoreConfig(root=str(folder / store)), SILENT)
        assert isinstance(cases, StoredCases)
        return [cases[index].volume().data for index in range(len(cases.catalog))]

    return read


def catalog(folder: Path) -> Any:
    cases = open_cases(StoreConfig(root=str(folder / "lz4")), SILENT)
    assert isinstance(cases, StoredCases)
    records = [record.to_json() for record in cases.catalog.records()]
    return records, cases.split_of(), cases.fingerprint(np.arange(4))


def claimed(folder: Path) -> Any:
    settings = json.loads((folder / "sound.json").read_text())
    with claimed_folder(folder / "latents", settings):
        return None


def metrics(folder: Path) -> Any:
    """What a resume makes of the file."""
    path = folder / "run" / "metrics.csv"
    found = path.read_bytes() if path.is_file() else b""
    written = Written.of(CheckpointFolder(folder / "run" / "checkpoints").about(STEP)["metrics"])
    columns = (folder / "header.txt").read_text().split(",")
    CsvLogger(path, columns[3:]).truncate_after(STEP, written)
    resumed = path.read_bytes()
    path.write_bytes(found)
    for aside in path.parent.glob("metrics.csv.damaged*"):
        aside.unlink()
    return resumed


def curves(folder: Path) -> Any:
    """What a report draws of metrics.csv, with the sum of the finished run and without."""
    run, sums = RunFolder(folder / "run"), folder / "run" / "checksums.json"
    warn_of_metrics(run)
    sums.rename(folder / "sums")
    problem = damage_of_metrics(run)
    (folder / "sums").rename(sums)
    history = History(run.metrics)
    history.read_new_rows()
    return problem, history.curves


def report(folder: Path) -> Any:
    found = read_report(str(folder / "run"), "full", "run")
    return found.cases, found.protocol, found.facts, found.warnings


def picture(folder: Path) -> Any:
    found = read_report(str(folder / "run"), "full", "run")
    return [_case("", name, "psnr", [found]) for name in found.cases]


def tensors(folder: Path) -> Any:
    return CustomVAE.from_pretrained(folder / "run/weights/latest").state_dict()


def latents(folder: Path) -> Any:
    entries = read_manifest(folder / "latents")
    return [read_entry(folder / "latents", entry).mean for entry in entries]


def description(folder: Path) -> Any:
    return read_description(folder / "run/weights/latest")


def statistics(folder: Path) -> Any:
    return read_statistics(folder / "latents")


def checkpoint(folder: Path) -> Any:
    return CheckpointFolder(folder / "run" / "checkpoints").load(STEP).state


def scans(suffix: str) -> Callable[[Path], Any]:
    return lambda folder: [
        read_volume(path).data for path in sorted((folder / "scans").glob(f"*{suffix}"))
    ]


def run_facts(folder: Path) -> Any:
    return facts_of_training({"trainer": {"steps": STEP}, "seed": 0}, RunFolder(folder / "run"))


REPORT = "run/report/full"
KINDS: dict[str, Kind] = {
    "store array, lz4": Kind("lz4/cases/*/*", volumes("lz4"), "lz4"),
    "store array, none": Kind("none/cases/*/*", volumes("none"), "none"),
    "store array, format 1, lz4": Kind("old_lz4/cases/*/*", volumes("old_lz4"), "old_lz4"),
    "store array, format 1, none": Kind("old_none/cases/*/*", volumes("old_none"), "old_none"),
    "catalog.sqlite": Kind("lz4/catalog.sqlite", catalog, "lz4"),
    "store.json": Kind("lz4/store.json", lambda f: StoreSettings.read(f / "lz4"), "lz4"),
    "model.safetensors": Kind("run/weights/latest/model.safetensors", tensors, "run"),
    "config.json": Kind("run/weights/latest/config.json", description, "run"),
    "latent": Kind("latents/cases/*/*", latents, "latents", by_content=True),
    "manifest.csv": Kind(
        "latents/manifest.csv", lambda f: read_manifest(f / "latents"), "latents"
    ),
    "statistics.json": Kind("latents/statistics.json", statistics, "latents"),
    "latents.json": Kind("latents/latents.json", claimed, "latents"),
    "checkpoint": Kind("run/checkpoints/*/*", checkpoint, "run", by_content=True),
    "metrics.csv, resume": Kind("run/metrics.csv", metrics, "run"),
    "metrics.csv, curves": Kind("run/metrics.csv", curves, "run"),
    "config.yaml": Kind("run/config.yaml", lambda f: load_config(f / "run/config.yaml"), "run"),
    "cases.csv": Kind("run/cases.csv", lambda f: RunCases.read(f / "run/cases.csv").cases, "run"),
    "summary.json of a run": Kind("run/summary.json", run_facts, "run"),
    "scores.csv": Kind(f"{REPORT}/scores.csv", report, "run"),
    "summary.json of a report": Kind(f"{REPORT}/summary.json", report, "run"),
    "picture of a report": Kind(f"{REPORT}/cases/*.png", picture, "run"),
    ".nii.gz": Kind("scans/*.nii.gz", scans(".nii.gz"), None, by_content=True),
    "PNG": Kind("scans/*.png", scans(".png"), None, by_content=True),
}


def as_format_1(store: Path) -> None:
    """Remove the checksums of the arrays, as earlier versions wrote them."""
    records = []
    for record in Catalog(store / "catalog.sqlite").records():
        path = store / str(record.file)
        array, maxima = open_array(path)
        voxels = array[(slice(None),) * len(array.shape)].copy()
        with path.open("wb") as file:
            np.save(file, voxels)
            np.save(file, maxima)
        records.append((replace(record, digest=file_digest(path), sums=None), None))
    (store / "checksums.json").unlink()
    write_catalog(store / "catalog.sqlite", records)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound files of every kind."""
    folder = tmp_path_factory.mktemp("sound")
    run = train(tiny_training(folder, trainer=tiny_trainer(steps=STEP, val_every=STEP)))
    shown = EvaluationConfig(media=["png"], report=False)
    evaluate(EvalConfig(run=str(run), device="cpu", evaluation=shown, split="all"))
    encode(EncodeConfig(run=str(run), output=str(folder / "latents"), device="cpu"))
    for codec, name in (("lz4", "lz4"), ("none", "none"), ("none", "old_none")):
        store = str(folder / name)
        data = SyntheticConfig(shape=(20, 18, 16), count=4, store=store, codec=codec)
        open_cases(data, SILENT)
    as_format_1(folder / "old_none")
    shutil.copytree(ROOT / "tests" / "fixtures" / "v0_1" / "store", folder / "old_lz4")
    shutil.copy(folder / "latents" / "latents.json", folder / "sound.json")
    (folder / "header.txt").write_text((run / "metrics.csv").read_text().splitlines()[0])
    (folder / "scans").mkdir()
    rng = np.random.default_rng(0)
    for name in "ab":
        voxels = rng.integers(0, 99, (20, 20, 20)).astype(np.int16)
        image = nibabel.Nifti1Image(voxels, np.eye(4)).to_bytes()
        (folder / "scans" / f"{name}.nii.gz").write_bytes(gzip.compress(image, 1, mtime=0))
        Image.fromarray(voxels[0].repeat(9, 0).astype(np.uint8)).save(folder / f"scans/{name}.png")
    return folder


@contextmanager
def warnings_into(lines: list[str]) -> Iterator[None]:
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger("vae3d")
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def equal(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        return first.shape == second.shape and torch.equal(first, second)
    return same(first, second)


def outcome(folder: Path, kind: Kind, path: Path, sound: Any) -> str:
    """What becomes of a damaged file: refused, warned or unused, else a fault."""
    checksums._warned.clear()
    # A checkpoint is known by its folder: its files vouch for each other.
    named = path.parent if path.parent.parent.name == "checkpoints" else path
    lines: list[str] = []
    refusal, found = "", None
    with warnings_into(lines):
        try:
            found = kind.use(folder)
        except UserError as error:
            refusal = str(error)
    if refusal and str(named) in refusal:
        return "refused"
    if any(str(named) in line for line in lines):
        return "warned"
    if refusal:
        return f"BLAMED ANOTHER FILE: {refusal}"
    if not equal(found, sound):
        return "USED WITHOUT A WORD"
    if kind.top is not None and not kind.by_content:
        result = verify(folder / kind.top)
        states = {finding.path: finding.state for finding in result.findings}
        if states[path] not in ("damaged", "changed"):
            return "NOT NAMED BY VERIFY"
    return "unused"


@pytest.mark.parametrize(
    "count", [200, pytest.param(2000, marks=pytest.mark.faults)], ids=["fast", "nightly"]
)
def test_no_damaged_file_is_used_silently(made: Path, count: int) -> None:
    draw = random.Random(count)
    sound = {name: kind.use(made) for name, kind in KINDS.items()}
    table: dict[str, Counter[str]] = {name: Counter() for name in KINDS}
    turns = itertools.cycle((name, damage) for damage in DAMAGES for name in KINDS)
    faults, done = [], 0
    while done < count:
        name, damage = next(turns)
        kind = KINDS[name]
        path = draw.choice(sorted(made.glob(kind.files)))
        before = path.read_bytes()
        after = with_damage(made, kind, before, damage, draw)
        if after == before:
            continue
        path.write_bytes(after)
        found = outcome(made, kind, path, sound[name])
        path.write_bytes(before)
        table[name][found] += 1
        done += 1
        if found not in ("refused", "warned", "unused"):
            faults.append(f"{path.relative_to(made)} ({damage}): {found}")
    for name, counts in table.items():
        sys.stdout.write(f"{name}: {dict(counts)}\n")
    assert not faults


def with_damage(made: Path, kind: Kind, before: bytes, damage: str, draw: random.Random) -> bytes:
    """The bytes of a file after one damage."""
    if damage == "line":
        lines = before.splitlines(keepends=True)
        del lines[draw.randrange(len(lines))]
        return b"".join(lines)
    if damage == "digit":
        places = [place for place, byte in enumerate(before) if chr(byte) in string.digits]
        place = draw.choice(places or [0])
        return before[:place] + draw.choice(string.digits).encode() + before[place + 1 :]
    if damage != "another file":
        return damaged(before, damage, draw)
    alike = sorted(made.glob(kind.files))
    if kind.top is None:  # another whole scan is a scan: half of it is none
        return before[: len(before) // 2] + alike[0].read_bytes()
    if len(alike) > 1 and draw.random() < 0.7:
        return draw.choice(alike).read_bytes()
    return draw.choice([file for file in sorted(made.rglob("*")) if file.is_file()]).read_bytes()
