"""The meter counts the bytes and operations that torch itself counts on the meta device."""

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import ROOT, tiny_model
from vae3d.autoencoder.summary import summarise
from vae3d.autoencoder.vae import CustomVAE
from vae3d.layers import operators
from vae3d.model.config import ACTIVATIONS, NORMS, AttentionSpec
from vae3d.streaming.plan import streamed_plans, whole_bytes

OPTIONS = [*((name, "silu") for name in NORMS), *(("layer", name) for name in ACTIVATIONS)]


@pytest.mark.parametrize(("norm", "activation"), OPTIONS, ids="-".join)
def test_operators_are_counted_as_torch_makes_them(
    norm: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model = CustomVAE(tiny_model(norm=norm, activation=activation, norm_groups=2))

    def counted() -> list[int]:
        counts = []
        for inference in (False, True):
            with torch.inference_mode(inference):
                counts.append(whole_bytes(model, (12, 10, 8)))
                counts += [plan.bytes for plan in streamed_plans(model, (12, 10, 8))]
        return counts

    ours = counted()
    monkeypatch.setattr(operators, "META_OUTPUTS", {})
    assert counted() == ours


@pytest.mark.parametrize("attention", ["none", "global", "windowed"])
def test_floating_point_operations_are_counted_as_torch_counts_them(attention: str) -> None:
    config = tiny_model(attention=AttentionSpec(attention, window=(2,), head_channels=4))
    with torch.device("meta"):
        model, image = CustomVAE(config).eval(), torch.empty(1, 1, 12, 10, 8)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.decode(model.encode(image).mode(), (12, 10, 8))
    assert summarise(config, (12, 10, 8)).flops == counter.get_total_flops() > 0


def test_a_plan_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from vae3d.model.config import VAEConfig;"
        "from vae3d.streaming.plan import streamed_plans, whole_bytes;"
        "from vae3d.autoencoder.summary import summarise;"
        "from vae3d.autoencoder.vae import CustomVAE;"
        "m = torch.device('meta').__enter__() and CustomVAE(VAEConfig(spatial_dims=3));"
        "whole_bytes(m, (32, 32, 32)); [*streamed_plans(m, (32, 32, 32))];"
        "summarise(VAEConfig(spatial_dims=3), (32, 32, 32));"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False"]
