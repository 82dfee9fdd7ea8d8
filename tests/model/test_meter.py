"""What is counted of tensors without values is what torch itself would make of them."""

import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT, tiny_model
from vae3d.model.config import ACTIVATIONS, NORMS
from vae3d.model.streaming import meter
from vae3d.model.streaming.plan import streamed_plans, whole_bytes
from vae3d.model.vae import CustomVAE

OPTIONS = [*((name, "silu") for name in NORMS), *(("layer", name) for name in ACTIVATIONS)]


@pytest.mark.parametrize(("norm", "activation"), OPTIONS, ids="-".join)
def test_operators_are_counted_as_torch_makes_them(
    norm: str, activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.device("meta"):
        model = CustomVAE(tiny_model(norm=norm, activation=activation, norm_groups=2))

    def counted() -> list[int]:
        found = []
        for inference in (False, True):
            with torch.inference_mode(inference):
                found.append(whole_bytes(model, (12, 10, 8)))
                found += [plan.bytes for plan in streamed_plans(model, (12, 10, 8))]
        return found

    known = counted()
    monkeypatch.setattr(meter, "MADE_WITHOUT_VALUES", {})
    assert counted() == known


def test_a_plan_does_not_load_the_compiler() -> None:
    code = (
        "import sys, torch; from vae3d.model.config import VAEConfig;"
        "from vae3d.model.streaming.plan import streamed_plans, whole_bytes;"
        "from vae3d.model.vae import CustomVAE;"
        "m = torch.device('meta').__enter__() and CustomVAE(VAEConfig(spatial_dims=3));"
        "whole_bytes(m, (32, 32, 32)); [*streamed_plans(m, (32, 32, 32))];"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["False"]
