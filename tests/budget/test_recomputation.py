"""What is recomputed changes the memory of a step, and no bit of its result."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.conftest import ROOT, tiny_model, vae3d
from vae3d.adversary.config import AdversarySpec
from vae3d.autoencoder.vae import CustomVAE
from vae3d.budget.footprint import Footprint, Part
from vae3d.budget.memory import TrainingStep, optimizer_copies
from vae3d.budget.recomputation import combined, least_work, nothing, smallest
from vae3d.features.file import Source, features_of, write_features
from vae3d.features.networks import NETWORKS
from vae3d.layers.recomputation import RECOMPUTATIONS
from vae3d.loss.config import LossConfig, PerceptualSpec
from vae3d.loss.objective import Objective
from vae3d.loss.perceptual import build_perceptual
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.model.frozen import freeze
from vae3d.runtime.precision import Precision, has_bf16
from vae3d.trainer.config import TrainerConfig

CPU = torch.device("cpu")


def config(**changes: object) -> VAEConfig:
    return tiny_model(levels=[LevelSpec(8, 1), LevelSpec(16, 2, (2,))], norm_groups=4, **changes)


def result(model: CustomVAE, precision: str, batch: int, side: int) -> list[Tensor]:
    """The loss, all gradients and all buffers of a step."""
    images = torch.rand(batch, 1, side, side, side, generator=torch.Generator().manual_seed(0))
    generators = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    with Precision(precision, CPU).autocast(CPU):
        output = model(images, generators)
    loss = Objective(LossConfig(), model.factor)(output, images, [(side,) * 3] * batch, 0).total
    torch.autograd.backward(loss.sum())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return [loss, *gradients, *model.buffers()]


@pytest.mark.parametrize(
    ("norm", "precision", "batch", "side", "train"),
    [
        # The gradient plane by plane of a batch and of a single image; torch's own.
        *(("layer", "fp32", 4, 16, "all"), ("layer", "fp32", 1, 8, "all")),
        *(("layer", "bf16", 1, 8, "all"), ("group", "fp32", 2, 8, "all")),
        *(("batch", "fp32", 2, 8, "all"), ("batch", "fp32", 2, 8, "encoder")),
        *(("layer", "fp32", 2, 8, "decoder"), ("batch", "fp32", 2, 8, ["*.conv2.*"])),
    ],
)
def test_recomputation_changes_no_bit(
    norm: str, precision: str, batch: int, side: int, train: str | list[str]
) -> None:
    expected: list[Tensor] | None = None
    blocks = CustomVAE(config()).blocks()
    mixed = {name: RECOMPUTATIONS[n % 4] for n, name in enumerate(blocks)}
    for choice in (*(dict.fromkeys(blocks, what) for what in RECOMPUTATIONS), mixed):
        torch.manual_seed(0)
        model = CustomVAE(config(norm=norm, dropout=0.2, zero_init=False)).to_device(CPU).train()
        freeze(model, train)
        model.recompute(choice)
        values = result(model, precision, batch, side)
        expected = expected or values
        assert len(values) == len(expected) > (20 if train == "all" else 5)
        for one, other in zip(expected, values, strict=True):
            assert torch.equal(one, other)


SIZES = {"nothing": (60, 10), "norms": (20, 30), "block": (10, 50), "all": (10, 40)}
"""Bytes that a block keeps for the backward pass, and that it takes at most within it."""
WORK = {"nothing": 0.0, "norms": 1.0, "block": 10.0, "all": 12.0}


def prints(scales: tuple[int, ...]) -> dict[str, Footprint]:
    """Footprints of blocks that are SIZES times a factor."""
    found = {}
    for what, (kept, peak) in SIZES.items():
        forward = [Part(str(n), kept * s, (kept + 5) * s, 100 * s) for n, s in enumerate(scales)]
        backward = [
            Part(str(n), -kept * s, peak * s, (200 + WORK[what]) * s)
            for n, s in [*enumerate(scales)][::-1]
        ]
        found[what] = Footprint([*forward, Part(None, 0, 7, 1.0), *backward], 0)
    return found


@pytest.mark.parametrize("scales", [(1,), (4, 1), (1, 2, 3), (3, 3, 1)])
def test_the_choice_is_almost_that_of_least_work(scales: tuple[int, ...]) -> None:
    footprints = prints(scales)
    blocks = [*nothing(footprints["nothing"])]
    every = [
        combined(footprints, dict(zip(blocks, kinds, strict=True)))
        for kinds in itertools.product(RECOMPUTATIONS, repeat=len(blocks))
    ]
    low = combined(footprints, smallest(footprints)).peak
    assert low == min(footprint.peak for footprint in every)
    for limit in {footprint.peak for footprint in every} | {low - 1, 10**6}:
        choice = least_work(footprints, limit)
        fitting = [footprint.work for footprint in every if footprint.peak <= limit]
        if choice is None:
            assert not fitting
            continue
        chosen = combined(footprints, choice)
        assert chosen.peak <= limit
        plain = footprints["nothing"].work
        assert chosen.work - plain <= 2 * (min(fitting) - plain)


def test_the_state_of_optimizers_is_counted() -> None:
    assert [optimizer_copies(name) for name in ("adamw", "adam", "sgd")] == [2, 2, 1]


MEASURE = """
import sys
from dataclasses import replace
from vae3d.runtime.heap import map_large_blocks
map_large_blocks()
import torch
from tests.budget.test_recomputation import large_step, with_adversary
from benchmarks.step_memory import measure_step
from vae3d.budget.memory import TrainingMemory
memory = TrainingMemory(large_step(sys.argv[1]))
whole = memory.plan(None)
trainer = replace(memory.step.trainer, train="decoder")
# The double number of patches, so that constants are a small part here too.
decoder = replace(memory.step, trainer=trainer, shape=(4, *memory.step.shape[1:]))
frozen = TrainingMemory(decoder)
stored = TrainingMemory(replace(decoder, box=(16, 16, 20)))
playing = TrainingMemory(replace(memory.step, loss=with_adversary()))
assert playing.plan(None).bytes > whole.bytes
for of, plan in (
    (memory, whole),
    (memory, memory.plan(0.7 * whole.bytes / 2**30)),
    (frozen, frozen.plan(None)),
    (stored, stored.plan(None)),
    (playing, playing.plan(None)),
):
    print(plan.bytes, measure_step(of.step, plan.blocks).peak)
"""


def large_step(precision: str) -> TrainingStep:
    """A step of which constants are a small part."""
    levels = [LevelSpec(16, 1), LevelSpec(32, 1, (2,))]
    model = VAEConfig(spatial_dims=3, levels=levels)
    trainer = TrainerConfig(precision=precision, ema_decay=0.99)
    return TrainingStep(model, LossConfig(), trainer, CPU, (2, 1, 64, 64, 64))


def with_adversary() -> LossConfig:
    """A discriminator whose weights and activations are a large part of a step."""
    return LossConfig(adversary=AdversarySpec(weight=0.5, adaptive=True, feature_matching=1.0))


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_a_step_takes_what_was_planned(precision: str) -> None:
    if precision == "bf16" and not has_bf16(CPU):
        pytest.skip("this CPU emulates bfloat16 with copies in float32")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, precision],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"},
    )  # fmt: skip
    rows = [line.split() for line in done.stdout.splitlines()]
    assert len(rows) == 5
    for planned, measured in rows:
        if measured == "None":
            pytest.skip("memory cannot be measured on this system")
        assert 0.85 <= int(measured) / int(planned) <= 1.1


def squeezenet(folder: Path) -> None:
    shapes = NETWORKS["squeezenet1_1"].shapes
    state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    folder.mkdir()
    write_features(features_of(state, None, None, Source("0" * 64)), folder)


@pytest.mark.parametrize(
    ("write", "side", "kept"),
    [
        # Autograd keeps at least the outputs of both levels, or of the first layer of 9 slices.
        (CustomVAE(config()).save_pretrained, 16, 2 * 4 * (8 * 16**3 + 16 * 8**3)),
        (squeezenet, 18, 2 * 4 * 9 * 64 * 8**2),
    ],
    ids=["encoder", "squeezenet"],
)
def test_a_perceptual_term_is_counted(
    write: Callable[[Path], None], side: int, kept: int, tmp_path: Path
) -> None:
    write(tmp_path / "features")
    loss = LossConfig(perceptual=PerceptualSpec(str(tmp_path / "features")))
    plain = TrainingStep(config(), LossConfig(), TrainerConfig(), CPU, (2, 1, *(side,) * 3))
    counted = replace(plain, loss=loss)
    perceptual = build_perceptual(loss)
    assert perceptual is not None
    extra = counted.held_bytes() - plain.held_bytes()
    assert extra == perceptual.extractor.nbytes > 0
    footprints = [step.footprint("nothing") for step in (plain, counted)]
    assert footprints[1].peak - footprints[0].peak > kept
    assert footprints[1].work > footprints[0].work


def test_a_training_fits_in_its_memory_with_the_same_result(tmp_path: Path) -> None:
    def trained(name: str, *arguments: str) -> str:
        done = vae3d(
            "train", "model=tiny", "trainer=debug", "trainer.steps=2", "patching.size=[32]",
            "data.shape=[36,36,36]", "trainer.portions=1", "trainer.precision=fp32",
            f"name={name}", *arguments,
            cwd=tmp_path,
        )  # fmt: skip
        return done.stderr

    trained("plain")
    assert re.search("recomputes (the norms|all) of", trained("fits", "trainer.memory=0.016"))
    same = [tmp_path / "runs" / n / "weights/latest/model.safetensors" for n in ("plain", "fits")]
    assert same[0].read_bytes() == same[1].read_bytes()
    refused = trained("refused", "trainer.memory=0.01")
    assert "vae3d: trainer.memory must be at least 0.02" in refused
    assert "lower trainer.batch_size" in refused
    assert not (tmp_path / "runs/refused/config.yaml").exists()
