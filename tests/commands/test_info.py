"""`vae3d info`: layers, totals, memory and time of a model."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import tiny_model, tiny_trainer, tiny_training, vae3d
from vae3d.autoencoder.vae import CustomVAE
from vae3d.budget.cost import Cost, inference_cost, training_cost
from vae3d.cli.compose import composed
from vae3d.commands.info_run import info
from vae3d.errors import ConfigError
from vae3d.runtime.memory import free_memory, peak_memory
from vae3d.runtime.precision import Precision
from vae3d.settings.saved import write_settings

CPU = torch.device("cpu")


def test_totals_and_measurements(tmp_path: Path) -> None:
    done = vae3d("info", "model=tiny", "size=[16]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("encoder.stem", "decoder.head", "training", "reconstruction", "largest batch"):
        assert text in done.stdout
    for text in ("parameters", "factor           4 x 4 x 4", "latent 4 x 4 x 4 x 4", "at most"):
        assert text in done.stdout


@pytest.fixture
def reported(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `vae3d info measure=false` prints, without a process of its own."""

    def report(*words: str) -> str:
        info(composed("info", "measure=false", *words))
        return capsys.readouterr().out

    return report


def test_memory_in_one_pass_and_slab_by_slab_is_reported(reported: Callable[..., str]) -> None:
    large = reported("model=tiny", "size=[64,256,256]", "memory=0.2")
    assert "in one pass " in large
    assert "(4 planes) to" in large
    assert "in 0.2 GiB       slab by slab" in large
    assert "more passes" not in large
    group = reported("model=tiny", "size=[16]", "memory=8", "model.norm=group")
    assert "in 8 GiB         in one pass" in group
    assert "norms need all of it first" in group
    training = reported("model=tiny", "size=[16]", "memory=0.05", "batch_size=4")
    # The number at a time depends on the cores.
    line = r"training         4 x 16 x 16 x 16( \(\d at a time\))?: 0\.0[12] GiB"
    assert re.search(line, training), training
    assert "in 0.05 GiB it recomputes nothing" in training
    for memory, rule in (("1e-4", "memory must be at least"), ("0", "memory must be .*positive")):
        with pytest.raises(ConfigError, match=rule):
            reported("model=tiny", "size=[16]", f"memory={memory}")


def test_the_memory_of_a_run_is_that_of_what_it_trains(
    reported: Callable[..., str], tmp_path: Path
) -> None:
    found = []
    for train in ("all", ["decoder.*"]):
        trainer = tiny_trainer(train=train)
        write_settings(tiny_training(tmp_path, trainer=trainer), tmp_path / "run/config.yaml")
        said = reported("run=run", "size=[96]", "batch_size=2")
        found.append(float(re.findall(r"training .*: ([0-9.]+) GiB", said)[0]))
    assert found[1] < 0.75 * found[0]


def test_a_size_that_does_not_fit_is_refused(reported: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match="size must be 1 or 3 numbers"):
        reported("size=[16,16]")


def test_peak_memory_is_what_was_taken() -> None:
    def take() -> None:
        torch.ones(64 * 2**20, dtype=torch.uint8)

    peak = peak_memory(take, CPU)
    if peak is None:
        pytest.skip("memory cannot be measured on this system")
    assert 60 * 2**20 < peak < 100 * 2**20
    assert free_memory(CPU) > 0


def test_costs_grow_with_the_image() -> None:
    precision = Precision("fp32", CPU)
    for measure in (training_cost, inference_cost):
        cost = measure(CustomVAE(tiny_model()), precision, CPU, (32, 32, 32))
        if cost is None:
            pytest.skip("memory cannot be measured on this system")
        assert cost.per_voxel > 0
        assert cost.seconds > 0
        assert cost.at(2000) > cost.at(1000)


def test_what_fits_takes_no_more_than_there_is() -> None:
    cost = Cost("training", fixed=1000.0, per_voxel=3.0, seconds=1.0)
    voxels = cost.max_voxels(10_000)
    assert cost.at(voxels) <= 10_000 < cost.at(voxels + 1)
    assert cost.max_voxels(10) == 0
    assert math.isclose(cost.at(0), 1000)
