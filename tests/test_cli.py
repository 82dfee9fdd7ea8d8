"""What bad input gets: one line on stderr, exit code 2, no traceback, nothing written."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import ROOT, vae3d
from vae3d.cli.dispatch import run
from vae3d.commands import COMMANDS
from vae3d.errors import ConfigError

TRAIN = ("train", "trainer=debug", "model=tiny", "data.shape=[16,16,16]", "data.count=4")


def refused(folder: Path, *arguments: str, but: str = "-") -> str:
    """Run a command that must be refused; return its error line. Only `but` may be written."""

    def files() -> list[Path]:
        return sorted(path for path in folder.rglob("*") if but not in path.parts)

    before = files()
    done = vae3d(*arguments, cwd=folder)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert files() == before, "nothing may be written"
    return done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "unknown command 'trian', did you mean 'train'?"),
        (["train", "trainer.sttps=3"], "'trainer.sttps', did you mean 'trainer.steps'?"),
        (["train", "+trainer.stops=3"], "unknown key 'trainer.stops'"),
        (["train", "trainer.steps=abc"], "trainer.steps must be a whole number, got 'abc'"),
        (["train", "trainer.steps=0"], "trainer.steps must be at least 1, got 0"),
        (["train", "data=ctt"], "data has no option 'ctt', did you mean 'ct'?"),
        (["train", "--config-dir"], "--config-dir needs a folder of option files"),
        (["train", "--config-dir=~nobody1"], "--config-dir needs a folder of option files"),
        (["train", "--package", "data"], "--package goes with --cfg"),
        (["train", "trainer={lr: 3}"], "trainer takes one option (debug, default)"),
        (["train", "data=[ct,mri]"], "data takes one option"),
        (["train", "~trainer"], "a setting cannot be removed"),
        (["train", "trainer.lr=nan", "--cfg", "job"], "trainer.lr must be above 0, got nan"),
        (["train", "model.levels=[{chanels: 8}]"], "did you mean 'model.levels.N.channels'?"),
        (["train", "seed=null"], "seed must not be null"),
        (["train", "loss.terms.gradiant=1"], "is not a loss, did you mean 'gradient'?"),
        (["train", "-sc", "install=bash"], 'eval "$(vae3d completion bash)"'),
        (["train", "patching=null"], "type patching=none"),
        (["train", "learning_rate=1e-3"], "did you mean 'trainer.lr'?"),
        (["prepare", "data=custom"], "data=custom is for vae3d train"),
        (["train", "patching=full", "patching.per_volume=3"], "does not belong to the chosen"),
        (["train", "patching.size=[2000,64,64]"], "patching.size must be in [1, 1024]"),
        (["train", "patching.size=[0]"], "patching.size must be in [1, 1024]"),
        (["train", "patching.size=[32,32]"], "patching.size needs 1 or 3 numbers"),
        (["train", "model.norm=foo"], "model.norm must be one of rms"),
        (["train", "model.levels.0.stride=[9]"], "model.levels.0.stride must be in [1, 8]"),
        (["train", "loss=l1_kl", "+loss.terms.foo=1"], "loss.terms.foo is not a loss"),
        (["train", "data=ct"], "data.root must name a folder"),
        (["train", "data=ct", "data.root=/no,where=é"], "no such folder or scan: /no,where=é"),
        (["train", "data=ct", "data.root=."], "no scans (.nii.gz, .nii, .npy) found in ."),
        (["train", "data=run"], "data=run is for vae3d eval, encode"),
        (["train", "data=custom"], "data.dataset must be package.module:name"),
        (["train", "data=custom", "data.dataset=no_such:Thing"], "cannot be imported"),
        (["train", "data.val_fraction=0.6", "data.test_fraction=0.5"], "leave nothing to train"),
        (["train", "name=../up"], "name must be a path below runs_dir"),
        (["train", "trainer.precision=fp16"], "trainer.precision=fp16 needs a GPU"),
        (["train", "model.spatial_dims=2"], "model.spatial_dims must be 3 for these data"),
        (["eval"], "run must name a run folder"),
        (["eval", "run=nothing"], "nothing: no run here"),
        (["eval", "run=x", "mode=half"], "mode must be one of full, patch"),
        (["info", "run=x", "model=tiny"], "run=x has a model of its own: drop model= or run="),
        (["info", "run=x", "model.dropout=0.1"], "drop model.dropout= or run="),
        (["compare", "x", "y"], "run=x: no run here, and no report with a scores.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    assert said in refused(tmp_path, *arguments)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train data=ct", "data.root must name a folder of scans, or data.list"),
        ("inspect data=mri", "data.root must name a folder of scans, or data.list"),
        ("train data=store", "data.root must name a store"),
        ("eval run=x data=images_2d", "data.root must name a folder of scans"),
        ("encode", "run must name a run folder"),
        ("eval autoencoder=monai", "name the data, for example data=ct"),
        ("eval run=x autoencoder=monai data=ct", "name two autoencoders"),
        ("decode run=x", "input must name latents"),
        ("reconstruct run=x", "input must name a scan"),
        ("info run=x model=tiny", "has a model of its own"),
    ],
)
def test_what_is_missing_is_named_before_torch_is_loaded(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae3d.cli.jobs.load", lambda name: pytest.fail(f"{name} is imported"))
    name, *typed = words.split()
    with pytest.raises(ConfigError, match=re.escape(said)):
        run(COMMANDS[name], typed)


def write_bad_scan(path: Path, kind: str) -> None:
    voxels = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    voxels = {"constant": voxels * 0 + 7, "nan": voxels * np.nan}.get(kind, voxels)
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    whole = path.read_bytes()
    damaged = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"<html>404</html>"}
    path.write_bytes(damaged.get(kind, whole))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", "truncated"),
        ("empty", "is empty"),
        ("text", "no whole gzip file"),
        ("constant", "all voxels have the one value 7"),
        ("nan", "no finite voxel"),
    ],
)
def test_bad_scans_are_named_or_skipped(tmp_path: Path, kind: str, said: str) -> None:
    for index in range(4):
        write_bad_scan(tmp_path / f"good{index}.nii.gz", "good")
    write_bad_scan(tmp_path / "broken.nii.gz", kind)
    # Without held-out cases every scan is one to train on.
    common = ("train", "trainer=debug", "model=tiny", "data=mri", f"data.root={tmp_path}",
              "data.val_fraction=0", "data.test_fraction=0", "patching.size=[8]")  # fmt: skip
    # The whole scans are prepared for the time when the broken one is mended.
    line = refused(tmp_path, *common, but="stores")
    assert "broken.nii.gz" in line
    assert said in line
    done = vae3d(*common, "data.on_error=skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "skipped 1 case of train" in done.stderr


def test_a_run_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    assert vae3d(*TRAIN, cwd=tmp_path).returncode == 0
    line = refused(tmp_path, *TRAIN, "model.latent_channels=8")
    assert "runs/vae3d: belongs to other settings (model.latent_channels: 4 -> 8)" in line
    (tmp_path / "runs/other").mkdir()
    (tmp_path / "runs/other/thesis.txt").write_text("mine")
    assert "holds files that are no run" in refused(tmp_path, *TRAIN, "name=other")


def test_evaluation_of_other_data_is_checked(tmp_path: Path) -> None:
    assert vae3d(*TRAIN, cwd=tmp_path).returncode == 0
    evaluate = ("eval", "run=runs/vae3d")
    write_bad_scan(tmp_path / "scan.nii.gz", "good")
    line = refused(tmp_path, *evaluate, "data=mri", f"data.root={tmp_path}")
    assert "expect window in HU, these data have percentiles in a.u." in line
    assert "data.root does not fit" in refused(tmp_path, *evaluate, "data.root=x")
    assert "are for 3D data" in refused(tmp_path, *evaluate, "data.shape=[16,16]")


def test_help_and_version(tmp_path: Path) -> None:
    shown = vae3d("--help", cwd=tmp_path, fresh=True, PYTHONPROFILEIMPORTTIME="1")
    assert shown.returncode == 0
    assert "train" in shown.stdout
    assert "eval" in shown.stdout
    imported = {line.split("|")[-1].strip().split(".")[0] for line in shown.stderr.splitlines()}
    assert "vae3d" in imported
    assert not imported & {"torch", "numpy", "hydra", "omegaconf"}, "they take seconds"
    assert vae3d("--version", cwd=tmp_path, fresh=True).stdout.startswith("vae3d 0.")
    keys = vae3d("train", "--cfg", "job", cwd=tmp_path)
    assert "latent_channels: 4" in keys.stdout
    assert vae3d("train", "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "model=tiny", "size=[8]", "measure=false"),
        ("train", "trainer.steps=0"),
        ("train", "--cfg", "job"),
    ],
    ids=" ".join,
)
def test_a_forked_command_is_a_new_process(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What the other tests run is what users type."""
    forked = vae3d(*arguments, cwd=tmp_path)
    typed = vae3d(*arguments, cwd=tmp_path, fresh=True)
    assert (forked.returncode, forked.stdout) == (typed.returncode, typed.stdout)
    assert [line for line in forked.stderr.splitlines() if "GiB" not in line] == [
        line for line in typed.stderr.splitlines() if "GiB" not in line
    ], "but for the free memory of the moment"


def test_a_sweep_of_four_has_four_runs_and_one_table(tmp_path: Path) -> None:
    command = (*TRAIN[:1], "-m", *TRAIN[1:], "name=sweep", "evaluation.media=[]",
               "model.latent_channels=2,3", "trainer.lr=1e-4,1e-3")  # fmt: skip
    done = vae3d(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = sorted(path.parent.name for path in tmp_path.glob("runs/sweep/*/summary.json"))
    assert runs == [
        f"model.latent_channels={channels},trainer.lr={lr}"
        for channels in (2, 3)
        for lr in ("0.0001", "0.001")
    ]
    lines = (tmp_path / "runs/sweep/sweep.csv").read_text().splitlines()
    assert len(lines) == 5
    assert "trainer.lr" in lines[0]
    again = vae3d(*command, cwd=tmp_path)
    assert again.stderr.count("is finished at step 8") == 4


LAUNCHER = """
import multiprocessing
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore
from hydra.core.utils import run_job
from hydra.plugins.launcher import Launcher
from omegaconf import open_dict

@dataclass
class Elsewhere:
    _target_: str = "hydra_plugins.elsewhere.Remote"

ConfigStore.instance().store(group="hydra/launcher", name="elsewhere", node=Elsewhere)

class Remote(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides, initial_job_idx):
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            context = multiprocessing.get_context("fork")
            job = context.Process(target=self.one, args=(number, overrides))
            job.start()
            job.join()
            assert job.exitcode == 0
        return []

    def one(self, number, overrides):
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        run_job(hydra_context=self.context, task_function=self.task, config=config,
                job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir").return_value
"""


def test_jobs_of_another_process_are_in_the_table(tmp_path: Path) -> None:
    """As launchers for clusters do: nothing that a job sets in memory comes back."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins/elsewhere.py").write_text(LAUNCHER)
    command = (*TRAIN[:1], "-m", *TRAIN[1:], "name=sweep", "evaluation.media=[]",
               "hydra/launcher=elsewhere", "trainer.steps=1", "trainer.lr=1e-4,1e-3")  # fmt: skip
    done = vae3d(*command, cwd=tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "runs/sweep/sweep.csv").read_text().splitlines()
    assert sorted(line.partition(",")[0] for line in lines[1:]) == [
        "trainer.lr=0.0001", "trainer.lr=0.001",
    ]  # fmt: skip
    assert "sweep.csv" in done.stderr
    assert not [*tmp_path.glob(".sweep-*")]


def test_custom_dataset_from_the_command_line_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Cubes(torch.utils.data.Dataset):\n"
        "    def __init__(self, count): self.count = count\n"
        "    def __len__(self): return self.count\n"
        "    def __getitem__(self, i):\n"
        "        g = torch.Generator().manual_seed(i)\n"
        "        return {'image': torch.rand(1, 9, 8, 10, generator=g)}\n"
    )
    command = ("train", "trainer=debug", "model=tiny", "data=custom", "patching.size=[8]",
               "data.window=[0,1]")  # fmt: skip
    dataset = ("data.dataset=mine:Cubes", "+data.options.count=5")
    done = vae3d(*command, *dataset, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "never taken from a saved file" in refused(tmp_path, "eval", "run=runs/vae3d")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/experiment").mkdir()
    (tmp_path / "evil/experiment/x.yaml").write_text(
        "# @package _global_\ndefaults: [{override /data: custom}]\ndata: {dataset: 'mine:Cubes'}"
    )
    line = refused(tmp_path, "train", "--config-dir", "evil", "+experiment=x", "name=y")
    assert "give it on the command line" in line
