"""The parts of a stream against their layers, plane by plane, and the constants of a plan."""

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import assert_same_output, tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.errors import ConfigError
from vae3d.streaming import plan as module
from vae3d.streaming.meter import metered
from vae3d.streaming.plan import (
    GIB,
    StreamingPlan,
    slabs_of,
    streamed_bytes,
    streamed_plans,
    streaming_plan,
    whole_bytes,
)
from vae3d.streaming.stream import Chain, PlaneBuffer, Pointwise, Residual, Stream
from vae3d.streaming.volume import latent_planes
from vae3d.streaming.windows import (
    Gather,
    MeasuredNorm,
    SlidingWindow,
    TiledWindows,
    zeros_like_planes,
)

SHAPE = (2, 4, 11, 3)


def image_of() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


def streamed(stream: Stream, x: Tensor, slabs: list[int]) -> list[Tensor]:
    with torch.no_grad():
        return [*Chain([stream]).run(x.split(slabs, dim=2))]


def test_planes_are_appended_at_the_end_and_taken_from_the_front() -> None:
    buffer, x = PlaneBuffer(), image_of()
    assert buffer.count == 0
    for slab in x.split([4, 1, 6], dim=2):
        buffer.add(slab)
    assert buffer.count == 11
    assert torch.equal(buffer.take(3), x[:, :, :3])
    assert torch.equal(buffer.take(4, drop=2), x[:, :, 3:7])
    assert buffer.count == 6
    assert torch.equal(buffer.take(6, drop=0), x[:, :, 5:])
    assert buffer.slabs[0].untyped_storage().nbytes() == 6 * 2 * 4 * 3 * 4, "not the whole slab"
    assert torch.equal(buffer.take(6), x[:, :, 5:])
    assert buffer.count == 0
    buffer.add(x)
    assert torch.equal(buffer.take(11), x)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (2, 2), (3, 3), (1, 1), (5, 2)])
@pytest.mark.parametrize("border", [(0, 0), (1, 1), (2, 0), (0, 2)])
@pytest.mark.parametrize("slabs", [[11], [1] * 11, [3, 5, 1, 2]], ids=str)
def test_windows_slide(
    kernel: int, stride: int, border: tuple[int, int], slabs: list[int]
) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(4, 3, (kernel, 1), (stride, 1)), image_of()
    for replicate in (False, True):
        stream = SlidingWindow(conv, kernel, stride, border, replicate)
        mode = "replicate" if replicate else "constant"
        padded = nn.functional.pad(x, (0, 0, *border), mode=mode)
        for _ in range(2):
            output = streamed(stream, x, slabs)
            torch.testing.assert_close(torch.cat(output, dim=2), conv(padded))
        # Output planes are returned as soon as their last input plane has been pushed.
        for number in range(kernel - border[0] - 1):
            assert stream.push(x[:, :, number : number + 1]) is None
        assert stream.push(x[:, :, :1]) is not None
        [*stream.flush()]


@pytest.mark.parametrize("side", [1, 3, 4, 20])
def test_rows_of_windows(side: int) -> None:
    def layer(x: Tensor) -> Tensor:
        """Each plane less the first of its window."""
        return torch.cat([part - part[:, :, :1] for part in x.split(side, dim=2)], dim=2)

    x = image_of()
    for slabs in ([11], [1] * 11, [3, 5, 1, 2]):
        stream = TiledWindows(layer, side)
        for _ in range(2):
            output = streamed(stream, x, slabs)
            assert torch.equal(torch.cat(output, dim=2), layer(x))


def test_all_planes_are_gathered_and_returned_in_slabs() -> None:
    x = image_of()
    stream = Gather(lambda y: y - y.mean(dim=2, keepdim=True))
    for _ in range(2):
        output = streamed(stream, x, [3, 5, 1, 2])
        assert [slab.shape[2] for slab in output] == [5, 5, 1]
        torch.testing.assert_close(torch.cat(output, dim=2), x - x.mean(dim=2, keepdim=True))
    assert [*stream.flush()] == []


def test_both_paths_of_a_residual_meet() -> None:
    x = image_of()
    conv = nn.Conv2d(4, 4, (3, 1), padding=(1, 0))
    inner = nn.Conv2d(4, 4, (3, 1))
    inner.load_state_dict(conv.state_dict())
    stream = Residual(Chain([SlidingWindow(inner, 3, 1, (1, 1))]), lambda y: 2 * y, scale=0.5)
    for slabs in ([11], [1] * 11, [3, 5, 1, 2]):
        output = streamed(stream, x, slabs)
        torch.testing.assert_close(torch.cat(output, dim=2), 0.5 * (2 * x + conv(x)))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_norm_is_measured_then_applied(groups: int) -> None:
    norm, x = nn.GroupNorm(groups, 4), 5 * image_of() + 3
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    stream = MeasuredNorm(norm)
    assert stream.measuring
    assert streamed(stream, x, [3, 5, 1, 2]) == []
    assert not stream.measuring
    output = torch.cat(streamed(stream, x, [1] * 11), dim=2)
    torch.testing.assert_close(output, norm(x), atol=1e-5, rtol=1e-5)
    even = MeasuredNorm(norm)
    streamed(even, torch.full(SHAPE, 0.1), [11])
    assert torch.cat(streamed(even, x, [11]), dim=2).isfinite().all()


def test_a_chain_measures_as_long_as_a_part_of_it_does() -> None:
    norm = MeasuredNorm(nn.GroupNorm(2, 4))
    chain = Chain([Pointwise(lambda y: y), Residual(Chain([norm]), lambda y: y)])
    assert chain.measuring
    assert [*chain.run([image_of()])] == []
    assert not chain.measuring


def test_bytes_are_counted_as_tensors_are_created_and_freed() -> None:
    before = torch.zeros(1000)
    with metered() as meter:
        first = before + 1
        assert meter.bytes == meter.peak == 4000
        second = torch.cat([first, before])
        assert meter.bytes == meter.peak == 12000
        view = second[:10]
        del first
        assert (meter.bytes, meter.peak) == (8000, 12000)
        del second
        assert meter.bytes == 8000, "a view keeps the memory"
        del view
        assert (meter.bytes, meter.peak) == (0, 12000)
        before.add_(1)
        assert meter.peak == 12000, "an in-place operator allocates nothing"


@pytest.mark.parametrize(
    ("factor", "depth", "expected"),
    [
        (1, 1, [1]), (4, 3, [4]), (4, 100, [32, 16, 8, 4]), (3, 1000, [24, 12, 6, 3]),
        (48, 96, [48]), (16, 17, [32, 16]), (16, 16, [16]), (4, 8, [8, 4]), (2, 5, [8, 4, 2]),
    ],
)  # fmt: skip
def test_slabs_are_halved(factor: int, depth: int, expected: list[int]) -> None:
    assert [*slabs_of(factor, depth)] == expected


def test_planes_of_the_latent_are_rounded_up() -> None:
    model = CustomVAE(tiny_model())
    assert [latent_planes(model, planes) for planes in (1, 2, 3, 4)] == [1, 1, 2, 2]


def test_the_bytes_of_a_plan_are_pinned() -> None:
    """Measured constants: heap factors of 2.25, or 1.3 for large tensors, and 32 MiB."""
    model = CustomVAE(tiny_model())
    shape = (64, 64, 64)
    held = []
    for meta in (torch.device("meta"),):
        with meta:
            twin = CustomVAE(tiny_model()).eval()
            image = torch.empty(1, 1, *shape)
            latent = torch.empty(1, 4, *twin.latent_size(shape))
        for part, x in ((twin.encode, image), (twin.decode, latent)):
            with metered() as meter:
                part(x)  # type: ignore[operator]
            held.append(meter.peak)
    kernels = 2 * max(p.nbytes for p in model.parameters()) + 32 * 2**20
    peak = max(held)
    heap = max(1.3 * peak, min(2.25 * peak, 512 * 2**20))
    assert whole_bytes(model, shape) == int(heap) + kernels
    thin, thick = (streamed_bytes(model, (99, 64, 64), planes) for planes in (2, 32))
    assert kernels < thin < thick
    (plan, *_, last) = streamed_plans(model, (99, 64, 64))
    assert (plan.planes, plan.bytes, last.planes, last.bytes) == (32, thick, 2, thin)


def test_constants_of_a_plan_are_pinned() -> None:
    assert (module.HEAP_FACTOR, module.LARGE_HEAP_FACTOR, module.LARGE_BYTES) == (2.25, 1.3, 2**29)
    assert (module.GIB, module.KERNEL_BYTES) == (2**30, 2**25)
    assert (module.STEADY_SLABS, module.MAX_PLANES) == (3, 32)


def test_a_plan_that_fits_to_the_byte_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CustomVAE(tiny_model())
    shape = (9, 8, 8)
    whole = whole_bytes(model, shape)
    plans = [StreamingPlan("streamed", planes, 2, whole - planes) for planes in (1, 2, 4)]
    monkeypatch.setattr(module, "streamed_plans", lambda model, shape: iter(plans))
    for less, expected in ((1, plans[0]), (2, plans[1]), (3, plans[2]), (4, plans[2])):
        assert streaming_plan(model, shape, (whole - less) / GIB) == expected
    assert streaming_plan(model, shape, whole / GIB).way == "whole"
    assert streaming_plan(model, shape, None).bytes == whole
    with pytest.raises(ConfigError, match=r"9 x 8 x 8, got"):
        streaming_plan(model, shape, (whole - 5) / GIB)


def test_a_gpu_holds_no_tensor_that_its_kernels_cannot_index(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, shape = CustomVAE(tiny_model()), (64, 16, 16)
    whole = streaming_plan(model, shape, None)
    assert whole.largest >= 4 * 64 * 16 * 16, "the first level has four channels"
    monkeypatch.setattr(module, "_on_gpu", lambda vae: True)
    assert streaming_plan(model, shape, None).way == "whole"
    assert not module.may_exceed_gpu(model, 1, shape)
    monkeypatch.setattr(module, "MAX_GPU_NUMBERS", whole.largest - 1)
    # Whatever the memory: also without a limit.
    assert module.may_exceed_gpu(model, 1, shape)
    for memory in (None, 100.0):
        plan = streaming_plan(model, shape, memory)
        assert plan.way == "streamed"
        assert plan.largest < whole.largest
    image = torch.rand(1, 1, *shape)
    with torch.no_grad():
        assert_same_output(model.encode(image).mean, model.encode(image, 100.0).mean, model)
    monkeypatch.setattr(module, "MAX_GPU_NUMBERS", 10)
    with pytest.raises(ConfigError, match="too large for a GPU even slab by slab"):
        streaming_plan(model, shape, None)


def test_a_gpus_memory_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = CustomVAE(tiny_model()), (64, 64, 64)
    here = whole_bytes(model, shape), streamed_bytes(model, shape, 8)
    monkeypatch.setattr(module, "_on_gpu", lambda vae: True)
    workspace = module.GPU_KERNEL_BYTES - module.KERNEL_BYTES
    there = whole_bytes(model, shape), streamed_bytes(model, shape, 8)
    assert all(gpu - workspace < cpu for gpu, cpu in zip(there, here, strict=True))


def test_borders_have_the_format_of_their_planes() -> None:
    meta = torch.empty(2, 4, 3, 5, 6, device="meta")
    for format_ in (torch.channels_last_3d, torch.contiguous_format):
        plane = meta.contiguous(memory_format=format_)[:, :, :1]
        border = zeros_like_planes(plane, (2, 4, 2, 5, 6))
        assert border.shape == (2, 4, 2, 5, 6)
        joined = torch.cat([border, plane], dim=2)
        assert joined.is_contiguous(memory_format=format_)
    # On a CPU results stay as they were.
    assert zeros_like_planes(torch.empty(1, 1, 1, 2, 2), (1, 4, 2, 5, 6)).is_contiguous()
