"""Portions of a batch: their gradients are those of the batch, for any number of lanes."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import rounding, tiny_model
from tests.trainer.test_trainer import build, weights
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.loading.patches import Batch
from vae3d.runtime.memory_order import add_gradient
from vae3d.trainer.config import TrainerConfig
from vae3d.trainer.portions import Portions, portions_of

CPU = torch.device("cpu")


def batch(count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        images=torch.rand(count, 1, 8, 8, 8, generator=generator) * 2 - 1,
        inside=[(8, 8, 8 - number % 3) for number in range(count)],
        weights=torch.rand(count, generator=generator),
        noise_seeds=[*range(count)],
    )


def loss(model: nn.Module, part: Batch) -> tuple[Tensor, list[int]]:
    output = model(part.images, part.generators())
    errors = (output.reconstruction - part.images).abs().mean(dim=(1, 2, 3, 4))
    return (errors * part.weights).sum(), part.noise_seeds


def gradients(count: int, lanes: int, batches: list[Batch], dropout: float = 0.1) -> list[Tensor]:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(dropout=dropout)).to_device(CPU).train()
    portions = Portions(model, count, 1, lanes)
    known = [*portions.backward(loss, batches)]
    portions.close()
    assert [*chain(*known)] == [seed for part in batches for seed in part.noise_seeds]
    assert all(p.grad is None or p.grad.stride() == p.stride() for p in model.parameters())
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("lanes", [2, 4])
def test_lanes_change_no_bit(count: int, lanes: int) -> None:
    batches = [batch(5), batch(3), batch(1)]
    one, more = gradients(count, 1, batches), gradients(count, lanes, batches)
    assert len(one) > 10
    assert all(torch.equal(a, b) for a, b in zip(one, more, strict=True))


@pytest.mark.parametrize("count", [2, 3, 7])
def test_portions_add_up_to_the_batch(count: int) -> None:
    whole, parts = gradients(1, 1, [batch(5)]), gradients(count, 2, [batch(5)])
    tolerance = rounding(CustomVAE(tiny_model()))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(b, a, atol=tolerance * float(a.abs().max()), rtol=tolerance)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
def test_a_batch_is_split_in_order(count: int) -> None:
    whole = batch(4)
    parts = whole.split(count)
    assert len(parts) == min(count, 4)
    assert max(len(p.images) for p in parts) - min(len(p.images) for p in parts) <= 1
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.weights for part in parts]), whole.weights)
    assert [*chain(*(part.inside for part in parts))] == whole.inside


def test_gradients_are_added_in_the_memory_order_of_the_weight() -> None:
    zeros = torch.zeros(4, 3, 3, 3, 3).contiguous(memory_format=torch.channels_last_3d)
    weight = nn.Parameter(zeros)
    gradient = torch.rand(4, 3, 3, 3, 3)
    add_gradient(weight, gradient)
    add_gradient(weight, None)
    add_gradient(weight, gradient)
    assert weight.grad is not None
    assert weight.grad.stride() == weight.stride()
    assert torch.equal(weight.grad, 2 * gradient)


def test_every_lane_trains() -> None:
    """Also if the model was in eval mode when its lanes were made."""
    modes = []

    def note(model: nn.Module, part: Batch) -> tuple[Tensor, None]:
        modes.append(model.training)
        return model(part.images).reconstruction.sum(), None

    portions = Portions(CustomVAE(tiny_model()).eval(), 4, 1, 2)
    [*portions.backward(note, [batch(4)])]
    portions.close()
    assert modes == [True] * 4


def test_an_error_in_a_lane_reaches_the_caller() -> None:
    def fails(model: nn.Module, part: Batch) -> tuple[Tensor, None]:
        raise ValueError(f"patch {part.noise_seeds}")

    portions = Portions(nn.Linear(1, 1), 2, 1, 2)
    with pytest.raises(ValueError, match=r"patch \[0, 1\]"):
        [*portions.backward(fails, [batch(4)])]
    # The lanes have models for the next batch.
    assert portions._models.qsize() == 2
    portions.close()


def test_a_training_is_the_same_in_any_number_of_lanes(tmp_path: Path) -> None:
    after = []
    for lanes in (1, 2, 4):
        settings: dict[str, Any] = {
            "batch_size": 4,
            "portions": 4,
            "threads_per_portion": 1,
            "lanes": lanes,
        }
        trainer = build(tmp_path / str(lanes), steps=4, val_every=None, **settings)
        trainer.fit()
        after.append((weights(trainer), trainer.logger.column("grad_norm")))  # type: ignore[attr-defined]
    for others, norms in after[1:]:
        assert all(torch.equal(a, b) for a, b in zip(after[0][0], others, strict=True))
        assert norms == after[0][1]


def test_defaults_follow_from_batch_and_device() -> None:
    def divided(
        device: str, cores: int = 2, in_parts: bool = True, **values: int
    ) -> tuple[Any, Any]:
        config = TrainerConfig(**values).divided(device, cores, in_parts)  # type: ignore[arg-type]
        return config.portions, config.threads_per_portion

    assert divided("cpu", batch_size=1) == (1, None)
    assert divided("cpu", batch_size=3) == (1, None)
    assert divided("cpu", batch_size=4) == (2, 1)
    assert divided("cpu", batch_size=9) == (4, 1)
    assert divided("cpu", cores=8, batch_size=4) == (2, 4)
    assert divided("cpu", cores=7, batch_size=4) == (2, 3)
    assert divided("cpu", cores=1, batch_size=4) == (2, 1)
    assert divided("cuda", batch_size=8) == (1, None)
    assert divided("cpu", in_parts=False, batch_size=8) == (1, None)
    assert divided("cuda", batch_size=8, portions=2) == (2, 1)
    assert divided("cpu", batch_size=8, threads_per_portion=3) == (4, 3)
    assert divided("cpu", batch_size=8, portions=1, threads_per_portion=3) == (1, 3)


def test_what_needs_whole_batches_is_refused_in_portions() -> None:
    model = CustomVAE(tiny_model(norm="batch"))
    with pytest.raises(ConfigError, match=r"batch norms .*trainer\.portions=1"):
        portions_of(TrainerConfig(portions=2), model, CPU)
    with pytest.raises(ConfigError, match=r"trainer\.compile=true .*trainer\.portions=1"):
        portions_of(TrainerConfig(portions=2, compile=True), CustomVAE(tiny_model()), CPU)
    assert portions_of(TrainerConfig(portions=1), model, CPU) is None
