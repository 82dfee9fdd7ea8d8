"""Patch-wise reconstruction of a volume against its bare forwards, and against MONAI's inferer.

    python scripts/bench_inference.py --model tiny --shape 128 128 128
    python scripts/bench_inference.py --model tiny --shape 128 128 128 --command

The same network, patches, overlap and batch for all, in turns; times are medians of the rounds,
ratios are taken round by round. `bare`: the batches alone, cut beforehand, put nowhere.
`--command` times `vae3d eval` of some phantoms with everything that it measures and draws, against
the reconstructions of the same volumes alone.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import torch
from torch import Tensor

from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train import TrainConfig
from vae3d.commands.train_run import train
from vae3d.data.build import open_cases
from vae3d.data.config import CTConfig
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.logger.console import ProgressBar
from vae3d.patching.samplers import GridPatches
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.precision import Precision
from vae3d.scans.synthetic import phantom

Call = Callable[[], object]


def main() -> int:
    """Prints the rows of a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--shape", type=int, nargs=3, default=[128, 128, 128])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--command", action="store_true")
    arguments = parser.parse_args()
    return command(arguments) if arguments.command else inference(arguments)


def inference(arguments: argparse.Namespace) -> int:
    """Bare forwards, ours and MONAI's."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = CustomVAE(settings(arguments.model, []).model).to_device(device).eval()
    precision = Precision(arguments.precision, device)
    image = torch.rand(1, *arguments.shape) * 2 - 1
    calls: dict[str, Call] = {}
    count, calls["bare forwards"] = bare(model, image, precision, device, arguments)
    for blend in ("hann", "uniform"):
        config = InferenceConfig((arguments.size,), arguments.overlap, blend, arguments.batch)
        ours = build_runner(config, "patch", model, device, precision)
        calls[f"vae3d, {blend}"] = lambda ours=ours: ours.reconstruct(image)  # type: ignore[misc]
    for mode in ("gaussian", "constant"):
        calls[f"MONAI SlidingWindowInferer, {mode}"] = monai(
            model, image, precision, device, arguments, mode
        )
    memory = {}
    for name, call in calls.items():
        call()
        memory[name] = peak_memory(lambda call=call: void(call), device)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            times[name].append(timed(call))
    sys.stdout.write(
        f"{'x'.join(map(str, arguments.shape))}, {count} patches of {arguments.size}, overlap "
        f"{arguments.overlap}, batch {arguments.batch}, model={arguments.model}, "
        f"{arguments.precision}, {device.type}, {torch.get_num_threads()} threads\n"
        "| | seconds | times the bare forwards | MiB |\n|---|---|---|---|\n"
    )
    first = times["bare forwards"]
    for name, spent in times.items():
        ratio = statistics.median(a / b for a, b in zip(spent, first, strict=True))
        held = (memory[name] or 0) / 2**20
        sys.stdout.write(
            f"| {name} | {statistics.median(spent):.2f} | {ratio:.3f} | {held:.0f} |\n"
        )
    return 0


def command(arguments: argparse.Namespace) -> int:
    """The whole command against its inference alone."""
    side = ",".join(map(str, arguments.shape))
    with tempfile.TemporaryDirectory() as folder:
        scans = Path(folder) / "scans"
        scans.mkdir()
        for number in range(arguments.cases):
            voxels = phantom(tuple(arguments.shape), 0, number).round().astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(voxels.T, np.eye(4)), scans / f"{number}.nii.gz")
        given = [
            "data=ct", f"data.root={scans}", f"data.store={folder}/store", "trainer.steps=1",
            f"patching.size=[{arguments.size}]", "patching.per_volume=1", f"runs_dir={folder}",
            "evaluation=scores", f"trainer.precision={arguments.precision}",
        ]  # fmt: skip
        run = train(settings(arguments.model, given))
        model = CustomVAE.from_pretrained(run / "weights" / "latest")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = Precision(arguments.precision, device)
        config = InferenceConfig((arguments.size,), arguments.overlap, batch_size=arguments.batch)
        reconstructor = build_runner(config, "patch", model, device, precision)
        stored = CTConfig(root=str(scans), store=f"{folder}/store")
        cases = open_cases(stored, ProgressBar("prepare", False))
        images = [cases[n].range.to_model(cases[n].volume().data) for n in range(arguments.cases)]

        def alone() -> None:
            for image in images:
                reconstructor.reconstruct(image)

        def whole() -> None:
            asked = EvalConfig(run=str(run), mode="patch", split="all")
            asked.evaluation.precision = arguments.precision
            asked.evaluation.inference = config
            evaluate(asked)

        ratios = []
        for _ in range(arguments.rounds):
            inferred, total = timed(alone), timed(whole)
            ratios.append(total / inferred)
            sys.stdout.write(f"alone {inferred:.1f} s, the command {total:.1f} s\n")
        sys.stdout.write(
            f"{arguments.cases} cases of {side}, overlap {arguments.overlap}: "
            f"{statistics.median(ratios):.2f} times the inference alone\n"
        )
    return 0


def settings(model: str, given: list[str]) -> TrainConfig:
    """What `vae3d train model=MODEL ...` would have."""
    config: TrainConfig = composed("train", f"model={model}", *given)
    return config


def bare(
    model: CustomVAE,
    image: Tensor,
    precision: Precision,
    device: torch.device,
    arguments: argparse.Namespace,
) -> tuple[int, Call]:
    """The number of patches, and all batches through the network, for nothing."""
    grid = GridPatches((arguments.size,) * 3, arguments.overlap)
    regions = grid.regions(tuple(image.shape[1:]), model.factor)
    batches = [
        torch.stack([region.cut(image) for region in regions[start : start + arguments.batch]])
        for start in range(0, len(regions), arguments.batch)
    ]

    @torch.inference_mode()
    def call() -> None:
        for batch in batches:
            with precision.autocast(device):
                model.decode(model.encode(batch.to(device)).mode()).cpu()

    return len(regions), call


def monai(
    model: CustomVAE,
    image: Tensor,
    precision: Precision,
    device: torch.device,
    arguments: argparse.Namespace,
    mode: str,
) -> Call:
    """MONAI's inferer around the same network, stitching on the CPU as ours does."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=(arguments.size,) * 3,
        sw_batch_size=arguments.batch,
        overlap=arguments.overlap,
        mode=mode,
        sw_device=device,
        device=torch.device("cpu"),
        progress=False,
    )

    @torch.inference_mode()
    def call() -> None:
        with precision.autocast(device):
            inferer(image[None], lambda x: model.decode(model.encode(x).mode()))

    return call


def void(call: Call) -> None:
    """A call whose result is forgotten."""
    call()


def timed(call: Call) -> float:
    """Seconds of a call; results come back to the CPU, so that the device has finished."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
