"""With its reach around it, a box of a latent decodes to what the whole latent decodes to."""

from typing import Any

import pytest
import torch

from tests.conftest import rounding, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.model.config import AttentionSpec, LevelSpec
from vae3d.streaming.reach import decoder_reach

DEEP = [LevelSpec(4, 2), LevelSpec(8, 1, (2,), decoder_blocks=2), LevelSpec(8, 1, (3,))]


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"patch": (2,)}, {"patch": (3,), "head_kernel": 1}, {"levels": DEEP},
        {"upsampling": "nearest"}, {"upsampling": "linear", "levels": DEEP},
        {"upsampling": "pixel_shuffle"}, {"projection": True, "head_norm": True},
        {"norm": "batch", "widening": "block"}, {"norm": "rms", "head_activation": True},
        {"levels": [LevelSpec(4), LevelSpec(8, 0, (1, 2, 4))], "upsampling": "linear"},
        {"levels": [LevelSpec(4, stride=(2,))], "unit_range": True, "dropout": 0.3},
        {"shortcuts": True, "levels": DEEP}, {"shortcuts": True, "upsampling": "pixel_shuffle"},
        {"patch": (2,), "folding": "haar"}, {"patch": (2,), "folding": "cdf53"},
        {"patch": (2,), "head_overlap": True}, {"patch": (3,), "head_overlap": True},
    ],
    ids=str,
)  # fmt: skip
def test_the_reach_is_exact(changes: dict[str, Any]) -> None:
    """One voxel less would not do, along any axis: the number is the least that is enough."""
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(zero_init=False, smooth_init=False, **changes)).double().eval()
    reach = decoder_reach(model.config)
    assert reach is not None
    for axis, halo in enumerate(reach):
        size = [1, 1, 1]
        size[axis] = 2 * halo + 5
        latent = torch.randn(1, 4, *size, dtype=torch.float64)
        middle, factor = halo + 2, model.factor[axis]
        with torch.no_grad():
            whole = model.decode(latent).narrow(2 + axis, middle * factor, factor)
            differs = []
            for around in (halo, halo - 1):
                box = latent.narrow(2 + axis, middle - around, 2 * around + 1)
                part = model.decode(box).narrow(2 + axis, around * factor, factor)
                differs.append(float((part - whole).abs().max()))
        assert differs[0] < 1e-9
        assert differs[1] > 1e-9


def test_a_box_in_all_axes_is_that_of_the_whole() -> None:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(zero_init=False)).eval()
    halo = decoder_reach(model.config)
    assert halo is not None
    latent = torch.randn(1, 4, *(2 * h + 4 for h in halo))
    crop = latent[:, :, 1:-1, 1:-1, 1:-1]
    with torch.no_grad():
        whole, part = model.decode(latent), model.decode(crop)
    for axis, (h, f) in enumerate(zip(halo, model.factor, strict=True), start=2):
        whole, part = whole.narrow(axis, (h + 1) * f, 2 * f), part.narrow(axis, h * f, 2 * f)
    torch.testing.assert_close(
        part, whole, atol=rounding(model) * float(whole.abs().max()), rtol=0
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "group", "norm_groups": 4}, {"norm": "instance"},
        {"attention": AttentionSpec(bottleneck="global")},
        {"levels": [LevelSpec(4), LevelSpec(8, stride=(2,), attention="windowed")]},
    ],
    ids=str,
)  # fmt: skip
def test_what_depends_on_the_whole_latent_has_no_reach(changes: dict[str, Any]) -> None:
    assert decoder_reach(tiny_model(**changes)) is None
