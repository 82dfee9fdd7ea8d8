"""Law 10: slab by slab equals the volume in one pass, in memory that does not grow with it."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.conftest import rounding, tiny_model
from tests.model.test_options import COMBINATIONS, config_of
from vae3d.autoencoder.vae import CustomVAE
from vae3d.cli.compose import composed
from vae3d.errors import ConfigError
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.model.config import (
    DOWNSAMPLINGS,
    NORMS,
    UPSAMPLINGS,
    WIDENINGS,
    AttentionSpec,
    LevelSpec,
    VAEConfig,
)
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.run.config import TrainConfig
from vae3d.runtime.precision import Precision
from vae3d.streaming.meter import metered
from vae3d.streaming.network import chain_of
from vae3d.streaming.plan import GIB, StreamingPlan, slabs_of, streaming_plan
from vae3d.streaming.volume import decoded, encoded, stream_decode, stream_encode

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
MEASURED = ("group", "instance")
COMBINATION_NUMBERS = {case: number for number, case in enumerate(COMBINATIONS)}
OPTIONS = [*itertools.product(NORMS, UPSAMPLINGS, DOWNSAMPLINGS)]
"""For each of these one size, one number of planes, one attention."""


def network(config: VAEConfig, seed: int = 0) -> CustomVAE:
    """A model none of whose layers begins at zero."""
    torch.manual_seed(seed)
    model = CustomVAE(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # Larger weights would amplify values, and float32's rounding errors, at each layer.
            nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
        else:
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.add_(torch.rand_like(buffer))
    return model


def an_image(model: CustomVAE, size: tuple[int, ...]) -> Tensor:
    noise = torch.Generator().manual_seed(sum(size))
    dtype = next(model.parameters()).dtype
    shape = (1, model.config.in_channels, *size)
    return torch.rand(*shape, generator=noise, dtype=dtype) * 2 - 1


@torch.no_grad()
def assert_streams(
    model: CustomVAE, size: tuple[int, ...], planes: int, within: float | None = None
) -> None:
    within = rounding(model) if within is None else within
    image = an_image(model, size)
    expected = model.encode(image)
    posterior = stream_encode(model, image, planes)
    if model.quantizer is not None:
        # Rounding errors decide about the level of a value that is halfway between two.
        bounded = model.quantizer.bounded(model.encoder(model.folded(image)))
        halfway = (bounded - bounded.floor() - 0.5).abs() < 10 * within
        posterior = DiagonalGaussian(
            torch.where(halfway, expected.mean, posterior.mean), posterior.logvar
        )
    assert_same(posterior.mean, expected.mean, within)
    assert_same(posterior.logvar, expected.logvar, within)
    whole = model.decode(expected.mean, size)
    assert_same(stream_decode(model, expected.mean, size, planes), whole, within)
    assert_same(stream_decode(model, posterior.mean, size, planes), whole, within)


def assert_same(actual: Tensor, expected: Tensor, within: float) -> None:
    """Equal within a part of the largest value, or of one."""
    atol = within * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(("norm", "upsampling", "downsampling"), OPTIONS)
@pytest.mark.parametrize("dims", [2, 3])
def test_every_option_streams(dims: int, norm: str, upsampling: str, downsampling: str) -> None:
    draw = random.Random(f"{dims}{norm}{upsampling}{downsampling}")
    attention = draw.choice(["none", "global", "windowed"])
    number = COMBINATION_NUMBERS[(dims, norm, upsampling, downsampling, attention)]
    # Small volumes make group statistics of a few numbers: float32 rounds them at will.
    model = network(config_of(number)).double()
    # A latent of one voxel has no statistics.
    size = (draw.randint(1, 19), *(draw.randint(5, 9) for _ in range(dims - 1)))
    assert_streams(model, size, draw.randint(1, 9), within=1e-10)
    if norm not in MEASURED:
        assert_streams(model.float(), size, draw.randint(1, 9))


@given(
    size=st.tuples(st.integers(1, 23), st.integers(1, 9), st.integers(1, 9)),
    planes=st.integers(1, 9),
    number=st.sampled_from([n for n, case in enumerate(COMBINATIONS) if case[0] == 3]),
)
@settings(max_examples=25, deadline=None)
def test_any_size_streams(size: tuple[int, int, int], planes: int, number: int) -> None:
    config = config_of(number)
    if config.norm in MEASURED:
        config = replace(config, norm="layer")
    assert_streams(network(config, number), size, planes)


@pytest.mark.parametrize(
    "stride", [(1, 2, 2), (3, 1, 2), (2, 2, 1), (4, 1, 1), (5, 8, 1)], ids=str
)
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_strides_differ_per_axis(stride: tuple[int, ...], upsampling: str) -> None:
    draw = random.Random(f"{stride}{upsampling}")
    levels = [LevelSpec(4, blocks=0), LevelSpec(8, stride=stride, blocks=draw.choice([0, 1, 2]))]
    for downsampling, patch in zip(DOWNSAMPLINGS, [(1,), (2, 1, 2)], strict=True):
        config = VAEConfig(
            levels=levels, upsampling=upsampling, downsampling=downsampling, patch=patch
        )
        assert_streams(network(config), (draw.randint(1, 30), 9, 7), draw.randint(1, 9))


@pytest.mark.parametrize(
    "stride", [(1, 2, 2), (3, 1, 2), (2, 2, 1), (4, 1, 1), (5, 8, 1)], ids=str
)
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_shortcuts_stream(stride: tuple[int, ...], upsampling: str) -> None:
    draw = random.Random(f"{stride}{upsampling}")
    levels = [LevelSpec(4, blocks=0), LevelSpec(8, stride=stride, blocks=draw.choice([0, 1, 2]))]
    for downsampling, widening in zip(DOWNSAMPLINGS, WIDENINGS, strict=True):
        config = VAEConfig(
            levels=levels,
            upsampling=upsampling,
            downsampling=downsampling,
            widening=widening,
            shortcuts=True,
        )
        assert_streams(network(config), (draw.randint(1, 30), 9, 7), draw.randint(1, 9))


@pytest.mark.parametrize(
    "ends", [{"folding": "haar"}, {"folding": "cdf53"}, {"head_overlap": True}], ids=str
)
@pytest.mark.parametrize("patch", [(2,), (1, 2, 2), (2, 2, 1)], ids=str)
def test_ends_without_blocks_stream(patch: tuple[int, ...], ends: dict[str, str | bool]) -> None:
    draw = random.Random(f"{patch}{ends}")
    levels = [LevelSpec(4), LevelSpec(8, stride=(2,))]
    model = network(VAEConfig(levels=levels, patch=patch, **ends))  # type: ignore[arg-type]
    for depth in (1, 2, 3, draw.randint(4, 30)):
        assert_streams(model, (depth, 9, 7), draw.randint(1, 9))


@pytest.mark.parametrize("norm", ["layer", "group", "instance"])
@pytest.mark.parametrize("attention", ["windowed", "global"])
def test_attention_streams(attention: str, norm: str) -> None:
    config = VAEConfig(
        levels=[LevelSpec(8, attention=attention), LevelSpec(16, stride=(2,), blocks=2)],
        norm=norm,
        attention=AttentionSpec(attention, window=(3, 4, 2), head_channels=4),
        patch=(1,),
    )
    model = network(config)
    for depth, planes in ((1, 3), (15, 4)):
        assert_streams(model, (depth, 7, 10), planes)


@pytest.mark.parametrize("name", ["tiny", "small", "maisi"])
@pytest.mark.parametrize(("depth", "planes"), [(1, 4), (13, 4)])
def test_presets_stream(name: str, depth: int, planes: int) -> None:
    config = composed("train", f"model={name}")
    assert isinstance(config, TrainConfig)
    assert_streams(network(config.model), (depth, 6, 9), planes)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.sampled_from(UPSAMPLINGS))
def test_slabs_may_be_of_any_thickness(thickness: list[int], upsampling: str) -> None:
    levels = [LevelSpec(4), LevelSpec(4, stride=(2,)), LevelSpec(4, stride=(3, 1, 1))]
    model = network(VAEConfig(levels=levels, upsampling=upsampling, patch=(1,)))
    depth = sum(thickness)
    latent = torch.randn(1, 4, depth, 2, 3)
    features = torch.randn(1, 1, 6 * depth, 4, 6)
    with torch.no_grad():
        for part, x, counts in (
            (model.decoder, latent, thickness),
            (model.encoder, features, [6 * n for n in thickness[::-1]]),
            (model.encoder, features, [*thickness, 5 * depth]),
        ):
            slabs = [*chain_of(part).run(x.split(counts, dim=2))]
            expected = part(x)
            assert_same(torch.cat(slabs, dim=2), expected, rounding(part))


@pytest.mark.parametrize("changes", [{}, {"upsampling": "linear", "downsampling": "end_padded"}])
def test_memory_does_not_grow_with_depth(changes: dict[str, str]) -> None:
    levels = [LevelSpec(4, attention="windowed"), LevelSpec(8, stride=(2,), blocks=2)]
    attention = AttentionSpec("windowed", window=(2,), head_channels=4)
    model = network(VAEConfig(levels=levels, attention=attention, **changes))  # type: ignore[arg-type]
    peaks = []
    for depth in (64, 128):
        image, latent = an_image(model, (depth, 9, 8)), torch.randn(1, 4, depth // 4, 3, 2)
        for run in (encoded(model, image, 8), decoded(model, latent, 8)):
            with metered() as meter:
                for slab in run:
                    del slab
            peaks.append(meter.peak)
            assert not meter.bytes, "no tensor stays"
    assert peaks[:2] == peaks[2:]


def test_a_plan_follows_from_the_memory() -> None:
    model = CustomVAE(tiny_model())
    shape = (200, 160, 160)
    whole = streaming_plan(model, shape, None)
    assert (whole.way, whole.planes, whole.passes) == ("whole", 200, 2)
    assert streaming_plan(model, shape, whole.bytes / GIB) == whole
    less = streaming_plan(model, shape, 0.9 * whole.bytes / GIB)
    assert less == StreamingPlan("streamed", 32, 2, less.bytes, less.largest)
    least = streaming_plan(model, shape, 0.7 * less.bytes / GIB)
    assert least.planes < 32
    assert least.bytes <= 0.7 * less.bytes
    # Two blocks of two norms each, in the encoder and in the decoder.
    grouped = CustomVAE(tiny_model(norm="group", norm_groups=2))
    plan = streaming_plan(grouped, shape, less.bytes / GIB)
    assert (plan.way, plan.passes) == ("passes", 2 + 8)
    with pytest.raises(ConfigError, match=r"^memory must be at least .* GiB"):
        streaming_plan(model, shape, 1e-6)
    with pytest.raises(ConfigError, match=r"^evaluation.inference.memory must be at least"):
        build_runner(InferenceConfig(memory=1e-6), "full", model, CPU, FP32).plan(shape)


@pytest.mark.parametrize(("factor", "depth"), [(1, 1), (4, 3), (4, 100), (3, 1000), (48, 96)])
def test_slabs_are_multiples_of_the_factor(factor: int, depth: int) -> None:
    planes = [*slabs_of(factor, depth)]
    assert planes == sorted(planes, reverse=True)
    assert planes[-1] == factor
    assert all(n % factor == 0 and n <= max(32, factor) for n in planes)


@pytest.mark.parametrize("norm", ["layer", "group"])
@pytest.mark.parametrize("sample", [False, True])
def test_a_runner_streams_under_a_bound(norm: str, sample: bool) -> None:
    model = network(tiny_model(norm=norm, norm_groups=2)).train()
    image = an_image(model, (61, 15, 17))[0]
    whole = streaming_plan(model, (61, 15, 17), None).bytes
    results, posteriors = [], []
    for memory in (None, 2.0, 0.99 * whole / GIB):
        maker = build_runner(InferenceConfig(memory=memory), "full", model, CPU, FP32)
        received: list[DiagonalGaussian] = []
        generator = torch.Generator().manual_seed(3) if sample else None
        results.append(maker.reconstruct(image, generator, received.append))
        (posterior,) = received
        posteriors.append(posterior.mean)
    assert maker.plan((61, 15, 17)).way == ("passes" if norm == "group" else "streamed")
    assert model.training
    assert torch.equal(results[0], results[1])
    assert_same(results[2], results[0], rounding(model))
    assert_same(posteriors[2], posteriors[0], rounding(model))


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_the_model_streams_under_a_bound(norm: str) -> None:
    model = network(tiny_model(norm=norm, norm_groups=2))
    images = torch.cat([an_image(model, (61, 15, 17)), -an_image(model, (61, 15, 17))])
    with torch.no_grad():
        expected = model.encode(images)
        image = model.decode(expected.mean, (61, 15, 17))
    # A bound on both of them together, too small for one alone in one pass.
    tight = 2 * 0.99 * model.plan((61, 15, 17), None).bytes / GIB
    assert model.plan((61, 15, 17), tight / 2).way == ("passes" if norm == "group" else "streamed")
    posterior = model.encode(images, memory=tight)
    within = rounding(model)
    assert_same(posterior.mean, expected.mean, within)
    assert_same(posterior.logvar, expected.logvar, within)
    assert_same(model.decode(expected.mean, (61, 15, 17), memory=tight), image, within)
    with torch.no_grad():
        assert torch.equal(model.encode(images, memory=8.0).mean, expected.mean)
    with pytest.raises(ConfigError, match="memory must be at least"):
        model.decode(expected.mean, memory=1e-6)


def test_a_layer_that_cannot_stream_is_reported_first() -> None:
    model = CustomVAE(tiny_model())
    model.encoder.middle = nn.Sequential(nn.MaxPool3d(3, 1, 1))
    with pytest.raises(ConfigError, match=r"a MaxPool3d cannot be streamed.*memory=null"):
        stream_encode(model, an_image(model, (8, 8, 8)))
    for memory in (0.0, -1.0, float("nan")):
        with pytest.raises(
            ConfigError, match=r"inference.memory must be a positive number of GiB, auto or null"
        ):
            InferenceConfig(memory=memory)
