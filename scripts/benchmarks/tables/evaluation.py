"""The whole of `vae3d eval` against the reconstructions of the same volumes alone.

Made-up CTs from a store, patch by patch: the reconstructions alone, `vae3d eval
evaluation=scores` and `vae3d eval` with its defaults, in one process.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from benchmarks.result import Block
from benchmarks.timing import alternate, timed
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.data.build import open_cases
from vae3d.data.config import StoreConfig
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import ModelRunner, build_runner
from vae3d.logger.console import ProgressBar
from vae3d.phantoms.chest import phantom
from vae3d.runtime.distributed import choose_device
from vae3d.runtime.precision import Precision

TITLE = "Evaluation"
PEERS = ()
ALONE = "reconstructions alone"


@dataclass(frozen=True)
class Sizes:
    """The model, the volumes, how they are cut, and how often."""

    model: str = "small"
    cases: int = 12
    shape: tuple[int, ...] = (256, 256, 256)
    size: int = 64
    overlap: float = 0.25
    batch: int = 4
    precision: str = "fp32"
    rounds: int = 3
    seconds: float = 3600.0


SIZES = {
    "full": Sizes(),
    "quick": Sizes(cases=2, shape=(64, 64, 112), rounds=2),
    "miniature": Sizes(model="tiny", cases=1, shape=(16, 16, 16), size=16, rounds=1),
}


def measure(sizes: Sizes) -> list[Block]:
    """Train one step on made-up scans, and time their evaluation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = trained(folder, sizes)
        model = CustomVAE.from_pretrained(run / "weights" / "latest")
        device = choose_device("auto")
        config = InferenceConfig((sizes.size,), sizes.overlap, batch_size=sizes.batch)
        runner = build_runner(config, "patch", model, device, Precision(sizes.precision, device))
        cases = open_cases(StoreConfig(root=str(folder / "store")), ProgressBar("", shown=False))
        images = [cases[n].range.to_model(cases[n].volume().data) for n in range(sizes.cases)]
        calls: dict[str, Callable[[], object]] = {
            ALONE: partial(reconstruct, runner, images),
            "`vae3d eval evaluation=scores`": partial(score, run, sizes, "evaluation=scores"),
            "`vae3d eval`": partial(score, run, sizes),
        }
        contenders = {title: timed(call, device) for title, call in calls.items()}
        samples = alternate(contenders, sizes.rounds, sizes.seconds, warm_up=False)
    rows = [
        [title, f"{samples.spread(title).median:.1f}", samples.ratio(title, ALONE).shown()]
        for title in calls
    ]
    heads = ["", "seconds", "times the reconstructions"]
    return [Block.of(described(sizes), heads, rows, samples)]


def described(sizes: Sizes) -> str:
    """Return what is evaluated."""
    return (
        f"`model={sizes.model}`, `mode=patch`, {sizes.cases} cases of "
        f"{'x'.join(map(str, sizes.shape))}, patches of {sizes.size}, overlap {sizes.overlap:g}, "
        f"{sizes.precision}, {torch.get_num_threads()} threads"
    )


def trained(folder: Path, sizes: Sizes) -> Path:
    """Return a run of one step on made-up scans in a store."""
    make_scans(folder / "scans", sizes)
    return train(composed("train", f"model={sizes.model}", *training(folder, sizes)))


def make_scans(folder: Path, sizes: Sizes) -> None:
    """Write phantoms as int16 NIfTI."""
    folder.mkdir()
    for number in range(sizes.cases):
        voxels = phantom(sizes.shape, 0, number).round().astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), folder / f"{number}.nii.gz")


def training(folder: Path, sizes: Sizes) -> list[str]:
    """Return the settings of a training of one step."""
    return [
        *("data=ct", f"data.root={folder}/scans", f"data.store={folder}/store", "data.workers=0"),
        *(f"patching.size=[{sizes.size}]", "patching.per_volume=1", "trainer.batch_size=1"),
        *("trainer.steps=1", f"trainer.precision={sizes.precision}", "trainer.val_cases=1"),
        *("evaluation=scores", f"runs_dir={folder}"),
    ]


def reconstruct(runner: ModelRunner, images: list[Tensor]) -> None:
    """Reconstruct the images (1, D, H, W), as the evaluation does."""
    for image in images:
        runner.reconstruct(image)


def score(run: Path, sizes: Sizes, *options: str) -> None:
    """Evaluate the run."""
    inference = "evaluation.inference"
    evaluate(
        composed(
            "eval",
            *(f"run={run}", "mode=patch", "split=all", *options),
            *(f"evaluation.precision={sizes.precision}", f"{inference}.size=[{sizes.size}]"),
            *(f"{inference}.overlap={sizes.overlap}", f"{inference}.batch_size={sizes.batch}"),
        )
    )
