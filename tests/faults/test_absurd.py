"""Every command with damaged and absurd input of every kind: it works, or ends with one line.

The number of a trial says all about it: `VAE3D_ABSURD=17 pytest tests/faults/test_absurd.py -k one`
repeats number 17 and prints what it does.
"""

# ruff: noqa: E501 - tables with a trial in each line

import contextlib
import io
import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import nibabel
import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import save_file

from tests.conftest import tiny_trainer, tiny_training
from tests.exchange.conftest import saved
from tests.faults.absurd import PATHS, damage
from tests.faults.conftest import Hurry
from vae3d.cli.explain import fail
from vae3d.cli.jobs import system_errors_as_user_errors
from vae3d.commands import COMMANDS
from vae3d.data.config import CTConfig, Images2DConfig, RunData, StoreConfig
from vae3d.errors import UserError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inspection import trial as reading_trial
from vae3d.latents.folder import read_manifest
from vae3d.patching.config import RandomPatchesConfig
from vae3d.runtime.messages import ROOT
from vae3d.runtime.registry import load

GROWTH_KIB = 2**20
"""Growth of this process that all trials may cause, 1 GiB."""
MAX_LINE, MAX_LINES = 2200, 40
"""What may be printed to stderr: characters a line, and lines."""
PATCHES = RandomPatchesConfig(size=(4,), per_volume=2)
EXIT_CODES = {0, 2, 3, 4, 5, 6, 7}


def settings_of(command: str, **values: Any) -> Any:
    """Return the settings of a command."""
    return COMMANDS[command].config(**values)


def ct(**values: Any) -> CTConfig:
    return CTConfig(
        **{
            "check": "off",
            "val_fraction": 0.3,
            "test_fraction": 0.3,
            "label_maps": "keep",
            **values,
        }
    )


def training(**values: Any) -> Any:
    """Return the settings of the run, whose folder the working folder holds."""
    steps = values.pop("steps", 2)
    trainer = tiny_trainer(steps=steps, val_every=2, checkpoint_every=1, log_every=1)
    changes = {"name": "run", "data": ct(root="scans", store=None), "patching": PATCHES, **values}
    return tiny_training(Path("runs"), trainer=trainer, **changes)


def execute(command: str, settings: Any) -> None:
    """Do what the command line does with these settings."""
    with system_errors_as_user_errors():
        load(COMMANDS[command].run)(settings)


def imported_from(path: str, output: str = "imported", **values: Any) -> Any:
    """Return the settings of an import of MONAI's tensors."""
    chosen = {"kind": "monai", "window": [-1000, 400], "norm_groups": 2, **values}
    return settings_of("import", input=path, output=output, **chosen)


def probe(labels: str = "labels.csv", latents: str = "latents", **values: Any) -> Any:
    """Return the settings of a small probe."""
    small = {"folds": 2, "repeats": 1, "strength": 1.0, "data": RunData(), **values}
    return settings_of("probe", latents=[latents], labels=labels, **small)


def make_world(folder: Path) -> None:
    """Write scans, lists, a store, two runs with reports, latents and samples into a folder."""
    rng = np.random.default_rng(0)
    for name in ("scans", "samples", "img", "outside"):
        (folder / name).mkdir(parents=True)
    (folder / "outside/precious.txt").write_text("precious\n")
    for number in range(6):
        voxels = rng.integers(-900, 900, (8, 8, 8)).astype(np.int16)
        if number == 5:
            np.save(folder / "scans/c5.npy", voxels)
        else:
            suffix = ".nii.gz" if number % 2 else ".nii"
            nibabel.save(
                nibabel.Nifti1Image(voxels, np.eye(4)), folder / f"scans/c{number}{suffix}"
            )
    gray = rng.integers(0, 255, (8, 8)).astype(np.uint8)
    for suffix in (".png", ".jpg"):
        imageio.imwrite(folder / f"img/a{suffix}", gray)
    tifffile.imwrite(folder / "img/b.tif", gray)
    names = sorted(path.name for path in (folder / "scans").iterdir())
    splits = ("train", "train", "train", "val", "test", "test")
    rows = [f"scans/{name},{split}" for name, split in zip(names, splits, strict=True)]
    (folder / "list.csv").write_text("path,split\n" + "\n".join(rows) + "\n")
    entries = [f'{{"image": "scans/{name}"}}' for name in names]
    (folder / "list.json").write_text(
        f'{{"training": [{", ".join(entries[:4])}], "validation": [{entries[4]}], "test": [{entries[5]}]}}'
    )
    saved(folder / "weights")
    with contextlib.chdir(folder):
        execute("train", training())
        execute(
            "eval",
            settings_of(
                "eval", run="runs/run", evaluation=EvaluationConfig(media=["png"], media_cases=1)
            ),
        )
        shutil.copytree("runs/run", "runs/other")
        execute("prepare", settings_of("prepare", data=ct(root="scans", store="store")))
        execute("encode", settings_of("encode", run="runs/run", output="latents"))
        execute("export", settings_of("export", run="weights", to="monai", output="exported"))
        execute("import", imported_from("exported/autoencoder.safetensors"))
        rows = [
            f"{entry.case_id},{n % 2}" for n, entry in enumerate(read_manifest(Path("latents")))
        ]
        Path("labels.csv").write_text("\n".join(["case_id,label", *rows, ""]))
        latent = torch.zeros(4, 4, 4, 4)
        np.save("samples/a.npy", latent.numpy())
        save_file({"latents": latent}, "samples/b.safetensors")
        nibabel.save(nibabel.Nifti1Image(latent.numpy(), np.eye(4)), "samples/c.nii.gz")
        os.mkfifo("pipe")
        Path("loop").symlink_to("loop")
        Path("gone").symlink_to("nothing")


Trial = tuple[str, Callable[[random.Random], Any], tuple[str, ...]]
TRIALS: list[Trial] = [
    ("inspect", lambda rng: settings_of("inspect", count=2, patching=PATCHES, data=ct(
        root="scans", store=rng.choice((None, "s")), on_error=rng.choice(("fail", "skip")))), ("scans/*",)),
    ("inspect", lambda rng: settings_of("inspect", count=2, patching=PATCHES, data=ct(
        list=rng.choice(("list.csv", "list.json")), store=None)), ("list.*",)),
    ("inspect", lambda rng: settings_of("inspect", count=2, patching=PATCHES, data=StoreConfig(
        root="store")), ("store/*", "store/cases/*/*")),
    ("inspect", lambda rng: settings_of("inspect", count=2, patching=PATCHES, data=Images2DConfig(
        root="img", store=None, check="off")), ("img/*",)),
    ("prepare", lambda rng: settings_of("prepare", verify=rng.random() < 0.5, data=ct(
        root="scans", store="store")), ("store/*", "store/cases/*/*", "scans/*", "store/parts/*")),
    ("prepare", lambda rng: settings_of("prepare", shard=rng.choice((None, "0/2")), data=ct(
        list=rng.choice(("list.csv", "list.json")), store="s")), ("list.*", "scans/*")),
    ("train", lambda rng: training(steps=3), (
        "runs/run/*", "runs/run/*", "runs/run/checkpoints/*", "runs/run/checkpoints/*/*", "runs/run/weights/*/*")),
    ("train", lambda rng: training(name="new", data=ct(list=rng.choice(("list.csv", "list.json")), store=None)),
        ("list.*",)),
    ("train", lambda rng: training(name="new", data=StoreConfig(root="store")), ("store/*", "store/cases/*/*")),
    ("eval", lambda rng: settings_of("eval", run="runs/run", mode=rng.choice(("full", "patch")), evaluation=EvaluationConfig(media=[])),
        ("runs/run/*", "runs/run/weights/*/*", "scans/*")),
    ("eval", lambda rng: settings_of("eval", run="runs/run", evaluation=EvaluationConfig(media=[]), data=StoreConfig(
        root="store")), ("store/*", "store/cases/*/*")),
    ("encode", lambda rng: settings_of("encode", run="runs/run", output="latents"), (
        "runs/run/config.yaml", "runs/run/cases.csv", "runs/run/weights/*/*", "latents/*", "latents/cases/*/*", "scans/*")),
    ("decode", lambda rng: settings_of("decode", run="runs/run", input="latents", output="x"), (
        "latents/*", "latents/cases/*/*", "runs/run/weights/*/*")),
    ("decode", lambda rng: settings_of("decode", run="runs/run", input="samples", output="x", **rng.choice((
        {}, {"scaling": "factor", "statistics": "latents"}, {"like": "scans/c0.nii"}))), (
        "samples/*", "latents/statistics.json", "scans/c0.nii", "runs/run/weights/*/*")),
    ("reconstruct", lambda rng: settings_of("reconstruct", run="runs/run", input="scans", output="x",
        on_error=rng.choice(("fail", "skip"))), ("scans/*", "runs/run/weights/*/*", "runs/run/config.yaml")),
    ("compare", lambda rng: settings_of("compare", run=["runs/run", "runs/other"]), (
        "runs/*/report/*/*", "runs/*/report/*/cases/*")),
    ("info", lambda rng: settings_of("info", run="runs/run", measure=False, size=(8,)), ("runs/run/config.yaml",)),
    ("runs", lambda rng: settings_of("runs", json=rng.random() < 0.5), ("runs/run/*",)),
    ("verify", lambda rng: settings_of("verify", folder=rng.choice((".", "store", "latents", "runs/run")),
        accept=rng.random() < 0.5), ("store/*", "store/cases/*/*", "latents/*", "runs/run/*", "runs/run/*/*/*")),
    ("export", lambda rng: settings_of("export", run="weights", to="monai", output=rng.choice(("exported", "x"))),
        ("weights/*", "exported/*")),
    ("import", lambda rng: imported_from("exported/autoencoder.safetensors", rng.choice(("imported", "x"))),
        ("exported/*.safetensors", "imported/*")),
    ("import", lambda rng: settings_of("import", kind="features", input="exported/autoencoder.safetensors", output="x"),
        ("exported/*.safetensors",)),
    ("probe", lambda rng: probe(), ("labels.csv", "latents/*", "latents/cases/*/*")),
    ("train", lambda rng: training(name="new", init_from="runs/run"), ("runs/run/*", "runs/run/weights/*/*")),
]  # fmt: skip
"""Commands with settings, and patterns of the files that they read."""
PATHS_OF: list[tuple[str, Callable[[str], Any]]] = [
    ("inspect", lambda p: settings_of("inspect", count=2, patching=PATCHES, data=ct(root=p, store=None))),
    ("inspect", lambda p: settings_of("inspect", count=2, patching=PATCHES, data=ct(list=p, store=None))),
    ("inspect", lambda p: settings_of("inspect", count=2, patching=PATCHES, data=StoreConfig(root=p))),
    ("inspect", lambda p: settings_of("inspect", count=2, patching=PATCHES, output=p, data=ct(root="scans"))),
    ("prepare", lambda p: settings_of("prepare", data=ct(root="scans", store=p))),
    ("prepare", lambda p: settings_of("prepare", data=ct(root=p, store="s"))),
    ("train", lambda p: training(runs_dir=p)),
    ("train", lambda p: training(name=p)),
    ("train", lambda p: training(name="new", data=ct(list=p, store=None))),
    ("eval", lambda p: settings_of("eval", run=p)),
    ("eval", lambda p: settings_of("eval", run="runs/run", output=p, evaluation=EvaluationConfig(media=[]))),
    ("encode", lambda p: settings_of("encode", run=p, output="x", data=RunData())),
    ("encode", lambda p: settings_of("encode", run="runs/run", output=p)),
    ("decode", lambda p: settings_of("decode", run="runs/run", input=p, output="x")),
    ("decode", lambda p: settings_of("decode", run="runs/run", input="samples/a.npy", output=p)),
    ("decode", lambda p: settings_of("decode", run="runs/run", input="samples", like=p, output="x")),
    ("decode", lambda p: settings_of("decode", run="runs/run", input="samples", scaling="factor", statistics=p)),
    ("reconstruct", lambda p: settings_of("reconstruct", run="runs/run", input=p, output="x")),
    ("reconstruct", lambda p: settings_of("reconstruct", run="runs/run", input="scans/c0.nii", output=p)),
    ("compare", lambda p: settings_of("compare", run=["runs/run", p])),
    ("compare", lambda p: settings_of("compare", run=["runs/run", "runs/other"], output=p)),
    ("info", lambda p: settings_of("info", run=p, measure=False)),
    ("runs", lambda p: settings_of("runs", folder=p)),
    ("verify", lambda p: settings_of("verify", folder=p)),
    ("export", lambda p: settings_of("export", run=p, to="monai", output="x")),
    ("export", lambda p: settings_of("export", run="weights", to="monai", output=p)),
    ("import", lambda p: imported_from(p)),
    ("import", lambda p: imported_from("exported/autoencoder.safetensors", p)),
    ("probe", lambda p: probe(labels=p)),
    ("probe", lambda p: probe(latents=p)),
    ("train", lambda p: training(name="new", init_from=p)),
]  # fmt: skip
"""Commands with a path in the place of one that they take."""


class Absurd:
    """Runs trials by number, each in a copy of one world."""

    def __init__(self, world: Path, folder: Path, hurry: Hurry) -> None:
        self.world, self.folder, self.hurry = world, folder, hurry
        self.seen: Counter[str] = Counter()

    def __call__(self, number: int) -> str:
        """Run one trial; return what it was and how it ended."""
        rng = random.Random(number)
        place = self.folder / f"t{number}"
        shutil.copytree(self.world, place, symlinks=True, ignore=lambda *_: {"pipe"})
        os.mkfifo(place / "pipe")
        with contextlib.chdir(place):
            what, command, make = self._plan(number, rng)
            about = f"trial {number}: {what}"
            ending = self._run(command, make, about)
        others = {path.name for path in self.folder.iterdir()} - {place.name}
        assert not others, (about, "written outside", others)
        precious = place / "outside"
        assert [path.name for path in precious.iterdir()] == ["precious.txt"], about
        assert (precious / "precious.txt").read_text() == "precious\n", about
        shutil.rmtree(place)
        self.seen[command] += 1
        self.seen[ending.partition(":")[0]] += 1
        return f"{about} -> {ending}"

    def _plan(self, number: int, rng: random.Random) -> tuple[str, str, Callable[[], Any]]:
        if number % 2:
            command, of_path = PATHS_OF[number // 2 % len(PATHS_OF)]
            text = rng.choice(PATHS)
            return f"{command} with the path {text!a:.90}", command, lambda: of_path(text)
        command, of_random, patterns = TRIALS[number // 2 % len(TRIALS)]
        files = sorted(p for p in Path().glob(rng.choice(patterns)) if p.is_file())
        if not files:
            return f"{command} as it is", command, lambda: of_random(rng)
        target = rng.choice(files)
        kind = damage(target, rng)
        return f"{command} with {target}: {kind}", command, lambda: of_random(rng)

    def _run(self, command: str, make: Callable[[], Any], about: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        ending, code = "worked", 0
        with self.hurry(about), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                execute(command, make())
            except UserError as error:
                ending = f"refused: {error}"
                code = fail(str(error), error.exit_code)
            except Exception as error:
                raise AssertionError(f"{about} -> a traceback: {error!r:.500}") from error
        assert code in EXIT_CODES, (about, code)
        assert "Traceback" not in err.getvalue(), (about, err.getvalue())
        lines = err.getvalue().splitlines()
        assert len(lines) < MAX_LINES, (about, lines)
        assert max(map(len, lines), default=0) < MAX_LINE, about
        return ending


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "world"
    make_world(folder)
    return folder


@pytest.fixture
def absurd(world: Path, tmp_path: Path, hurry: Hurry, monkeypatch: pytest.MonkeyPatch) -> Absurd:
    # Names that are no text would end the process that reports them to pytest's main one.
    monkeypatch.setattr(ROOT, "propagate", False)
    monkeypatch.setattr(reading_trial, "READING_SECONDS", 0.0)
    (tmp_path / "trials").mkdir()
    return Absurd(world, tmp_path / "trials", hurry)


@pytest.mark.parametrize(
    "numbers",
    [
        range(300),
        *(
            pytest.param(range(n, n + 300), marks=pytest.mark.faults)
            for n in range(300, 3300, 300)
        ),
    ],
    ids=lambda numbers: f"{numbers.start}-{numbers.stop - 1}",
)
def test_absurd_input_ends_no_command_in_a_traceback(absurd: Absurd, numbers: range) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        absurd(number)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KIB
    assert absurd.seen["refused"] > len(numbers) / 4
    assert absurd.seen["worked"] > len(numbers) / 20
    assert all(absurd.seen[command] >= 5 for command in COMMANDS)


def test_one_trial_is_repeated(absurd: Absurd) -> None:
    said = absurd(int(os.environ.get("VAE3D_ABSURD", "0")))
    print(said)  # noqa: T201
    assert said.startswith("trial ")
