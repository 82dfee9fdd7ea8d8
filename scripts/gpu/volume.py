"""The part `volume`: a whole scan in slabs and patches, its scores, and the loader's waits."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gpu.contenders import preset
from gpu.results import Row, Task
from gpu.speed import Scale
from gpu.timing import memory_of, timed
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.commands.train_run import train
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import ModelRunner, PatchRunner
from vae3d.loading.loader import PatchLoader
from vae3d.runtime.kernels import fast_kernels
from vae3d.runtime.precision import Precision
from vae3d.scoring.measure import measure
from vae3d.scoring.regions import TISSUES, Buckets
from vae3d.trainer.trainer import Trainer


def volume_tasks(scale: Scale) -> Iterator[Task]:
    """Yield the rows of one scan of 512 x 512 x 300."""
    models = ("tiny",) if scale.tiny else ("small", "base")
    for model in models:
        for precision in scale.precisions:
            for memory in (0.1,) if scale.tiny else (8.0, 2.0, None):
                limit = "no limit" if memory is None else f"{memory:g} GiB"
                key = f"{model} {precision} {limit}"
                yield Task("volume", key, partial(slabs, scale, model, precision, memory))
        yield Task("volume", f"{model} patches", partial(patches, scale, model))
    yield Task("volume", "scores", partial(scores, scale))
    for workers in (0, 2) if scale.tiny else (0, 8):
        yield Task("volume", f"loader {workers}", partial(loader, scale, workers))


def scan(scale: Scale) -> torch.Tensor:
    """Return an image (1, D, H, W) in [-1, 1], smooth with noise."""
    shape = (20, 24, 28) if scale.tiny else (300, 512, 512)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, *(max(2, n // 16) for n in shape), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0]
    return (2 * smooth - 1 + 0.02 * torch.randn(1, *shape, generator=generator)).clamp_(-1, 1)


def slabs(scale: Scale, model: str, precision: str, memory: float | None) -> Row:
    """Return seconds and GiB of a reconstruction in `memory` GiB, and the first call's seconds."""
    with fast_kernels(scale.device):
        network, image = CustomVAE(preset(model)), scan(scale)
        runner = ModelRunner(network, scale.device, Precision(precision, scale.device), memory)
        plan = runner.plan(tuple(image.shape[1:]))
        first = timed(lambda: runner.reconstruct(image), scale.device)
        seconds = timed(lambda: runner.reconstruct(image), scale.device)
        return {
            "model": model, "precision": precision, "memory": memory, "way": plan.way,
            "planes": plan.planes, "planned_gib": plan.bytes / 2**30, "first_seconds": first,
            "seconds": seconds,
            "gib": memory_of(lambda: runner.reconstruct(image), scale.device),
        }  # fmt: skip


def patches(scale: Scale, model: str) -> Row:
    """Return the seconds of a reconstruction by patches, stitched on the device and the CPU."""
    with fast_kernels(scale.device):
        config = InferenceConfig(size=(16 if scale.tiny else 64,), memory=None)
        precision = Precision(scale.precisions[-1], scale.device)
        runner = PatchRunner(CustomVAE(preset(model)), scale.device, precision, config)
        image, own = scan(scale), runner._place_of
        places = {"device": own, "cpu": lambda image: torch.device("cpu")}
        seconds, results = {}, {}
        for name, place in places.items():
            runner._place_of = place  # type: ignore[method-assign]
            runner.reconstruct(image)
            start = time.perf_counter()
            results[name] = runner.reconstruct(image)
            seconds[name] = time.perf_counter() - start
        apart = (results["device"] - results["cpu"]).abs().max().item()
        return {"model": model, "seconds": seconds, "apart": apart}


def scores(scale: Scale) -> Row:
    """Return the seconds to score the scan by tissues."""
    image = scan(scale).to(scale.device)
    other = (image + 0.01).clamp(-1, 1)
    buckets = Buckets([*TISSUES])
    call = partial(measure, [image, other], [(0, 1)], image * 1000, buckets)
    with torch.inference_mode():
        call()
        return {"seconds": timed(call, scale.device)}


@dataclass
class Waits:
    """The steps of a training: seconds, and whether the device had nothing to do before each."""

    waited: float = 0.0
    idle: list[bool] = field(default_factory=list)
    done: Any = None


def loader(scale: Scale, workers: int) -> Row:
    """Return how often the device waits for patches in a training on phantoms."""
    steps = 4 if scale.tiny else 60
    with tempfile.TemporaryDirectory() as folder, watched(scale.device) as waits:
        given = [
            f"model={'tiny' if scale.tiny else 'small'}", "name=loader", f"runs_dir={folder}",
            f"data.workers={workers}", f"trainer.steps={steps}", "trainer.val_every=1000",
            "trainer.checkpoint_every=1000", "trainer.log_every=1000", "evaluation.media=[]",
            f"data.store={Path(folder) / 'store'}", f"trainer.device={scale.device.type}",
            f"trainer.batch_size={1 if scale.tiny else 4}", "trainer.val_cases=1",
            f"patching.size=[{16 if scale.tiny else 64}]",
            f"data.shape=[{'24,24,24' if scale.tiny else '96,96,96'}]",
        ]  # fmt: skip
        given = [word for word in given if not word.startswith("data.store")]
        start = time.perf_counter()
        train(composed("train", *given))
        seconds = time.perf_counter() - start
    # The first steps start workers and choose kernels.
    idle = waits.idle[len(waits.idle) // 3 :]
    return {
        "workers": workers, "steps": steps, "seconds": seconds, "waited": waits.waited,
        "idle_share": sum(idle) / max(1, len(idle)),
    }  # fmt: skip


@contextmanager
def watched(device: torch.device) -> Iterator[Waits]:
    """Record the waits for patches of a training within the context."""
    waits, steps, step = Waits(), PatchLoader.steps, Trainer.train_step

    def watched_steps(self: PatchLoader, first: int, last: int) -> Iterator[Any]:
        for micro_batches in steps(self, first, last):
            start = time.perf_counter()
            read = [*micro_batches]
            waits.waited += time.perf_counter() - start
            # On a CPU nothing computes while patches are read, unless workers do.
            waits.idle.append(waits.done is None or bool(waits.done.query()))
            yield iter(read)

    def watched_step(self: Trainer, micro_batches: Any) -> Any:
        scores = step(self, micro_batches)
        if device.type == "cuda":
            waits.done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            waits.done.record()
        return scores

    PatchLoader.steps = watched_steps  # type: ignore[method-assign]
    Trainer.train_step = watched_step  # type: ignore[method-assign]
    try:
        yield waits
    finally:
        PatchLoader.steps, Trainer.train_step = steps, step  # type: ignore[method-assign]
