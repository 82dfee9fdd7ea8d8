"""Precision by name, and the steps of an optimizer in it."""

import pytest
import torch
from torch import nn

from vae3d.errors import ConfigError
from vae3d.runtime import precision
from vae3d.runtime.precision import Precision, choose_precision, has_bf16

CPU = torch.device("cpu")


def test_precision_by_name() -> None:
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert choose_precision("auto", CPU) == ("bf16" if has_bf16(CPU) else "fp32")
    for wrong, message in (("fp16", "needs a GPU"), ("tf32", "must be one of auto, fp32")):
        with pytest.raises(ConfigError, match=message):
            choose_precision(wrong, CPU)
    layer, x = nn.Linear(2, 2), torch.ones(1, 2)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        precision = Precision(name, CPU)
        assert not precision.skips_overflow
        with precision.autocast(CPU):
            assert layer(x).dtype == dtype


def test_gradients_are_added_and_clipped_and_steps_taken_where_finite() -> None:
    precision = Precision("fp32", CPU)
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, fused=True)
    for _ in range(2):
        precision.backward(3 * layer.weight.sum())
    assert layer.weight.grad is not None
    assert layer.weight.grad.item() == 6
    assert precision.clip(layer, optimizer, 2.0).item() == 6, "the norm before clipping"
    assert layer.weight.grad.item() == pytest.approx(2, rel=1e-5)
    precision.step(optimizer, torch.tensor(False))
    assert layer.weight.item() == 1
    precision.step(optimizer, torch.tensor(True))
    assert layer.weight.item() == pytest.approx(-1, rel=1e-5)


def test_an_emulated_precision_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda device: False)
    precision._warn_of_emulation.cache_clear()
    for _ in range(2):
        assert Precision("bf16", torch.device("cpu"), "trainer.precision").name == "bf16"
    (message,) = caplog.messages
    assert message.startswith("trainer.precision=bf16: this cpu has no bfloat16 instructions")
    assert Precision("auto", torch.device("cpu")).name == "fp32"


@pytest.mark.parametrize("overflows", [False, True])
def test_players_of_one_step_skip_it_together(overflows: bool) -> None:
    """With a scale, which looks at each optimizer alone; without one nothing is changed."""
    precision = Precision("fp32", torch.device("cpu"))
    layers = [torch.nn.Linear(2, 1) for _ in range(2)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
    precision.share_overflow(*layers)
    precision.scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=True)
    precision.scaled(torch.zeros(()))
    if overflows:
        assert layers[1].bias.grad is not None
        layers[1].bias.grad.fill_(torch.inf)
    optimizers = [torch.optim.SGD(layer.parameters(), lr=1.0, fused=True) for layer in layers]
    before = [layer.weight.detach().clone() for layer in layers]
    precision.share_overflow(*layers)
    for layer, optimizer in zip(layers, optimizers, strict=True):
        precision.clip(layer, optimizer, 100.0)
    precision.step(optimizers[0], torch.tensor(True), *optimizers[1:])
    for layer, weight in zip(layers, before, strict=True):
        expected = weight if overflows else weight - 0.25
        torch.testing.assert_close(layer.weight.detach(), expected)
    assert precision.scaler.get_scale() == (2.0 if overflows else 4.0)
