"""The network on a device is the CPU's, whole and in slabs, in the memory that is planned."""

from collections.abc import Iterator

import pytest
import torch

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import ModelRunner, build_runner
from vae3d.model.config import NORMS, AttentionSpec, LevelSpec, VAEConfig
from vae3d.runtime.kernels import fast_kernels
from vae3d.runtime.memory import peak_memory
from vae3d.runtime.precision import Precision
from vae3d.scoring.measure import measure
from vae3d.scoring.regions import WHOLE, Buckets
from vae3d.streaming.plan import streaming_plan
from vae3d.streaming.volume import stream_decode, stream_encode

CPU = torch.device("cpu")
SHAPE = (40, 24, 20)
TOLERANCES = {"ieee": 1e-4, "tf32": 2e-2}


def network(norm: str = "layer") -> CustomVAE:
    """A model none of whose layers begins at zero."""
    torch.manual_seed(0)
    levels = [LevelSpec(8, 1), LevelSpec(16, 1, (2,))]
    model = CustomVAE(VAEConfig(spatial_dims=3, levels=levels, norm=norm, norm_groups=4))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
    return model.eval()


@pytest.fixture(params=TOLERANCES)
def tolerance(request: pytest.FixtureRequest) -> Iterator[float]:
    """The error of float32, and of TF32, which a CPU does not have."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = request.param
    yield TOLERANCES[request.param]
    torch.backends.cudnn.conv.fp32_precision = before


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Equal within `tolerance` of the largest value."""
    atol = tolerance * max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found.cpu(), expected.cpu(), atol=atol, rtol=0)


@pytest.mark.parametrize("norm", NORMS)
def test_whole_and_in_slabs_it_is_the_cpus(
    accelerator: torch.device, norm: str, tolerance: float
) -> None:
    image = torch.rand(1, 1, *SHAPE) * 2 - 1
    with torch.no_grad():
        here = network(norm).to_device(CPU)
        mean = here.encode(image).mean
        decoded = here.decode(mean, SHAPE)
        there = network(norm).to_device(accelerator)
        assert_close(there.encode(image).mean, mean, tolerance)
        assert_close(there.decode(mean, SHAPE), decoded, tolerance)
        if norm != "batch":  # its statistics are those of a training
            assert_close(stream_encode(there, image, 8).mean, mean, tolerance)
            assert_close(stream_decode(there, mean, SHAPE, 8), decoded, tolerance)


@pytest.mark.parametrize("planes", [None, 8])
def test_the_peak_is_no_larger_than_the_plan(
    accelerator: torch.device, planes: int | None
) -> None:
    model = network().to_device(accelerator)
    shape = (64, 64, 64)
    plan = streaming_plan(model, shape, None)
    runner = ModelRunner(model, accelerator, Precision("fp32", accelerator))
    if planes is not None:
        runner.memory = 0.9 * plan.bytes / 2**30 if accelerator.type == "cuda" else 0.1
        plan = runner.plan(shape)
    image = torch.rand(1, *shape)
    runner.encode(image)  # the first call allocates what later ones use
    peak = peak_memory(lambda: void(runner.encode(image)), accelerator)
    assert peak is not None
    assert peak <= plan.bytes + 4 * image.nbytes


def void(value: object) -> None:
    """Do nothing with a value."""


def test_patches_are_stitched_as_on_the_cpu(accelerator: torch.device) -> None:
    image = torch.rand(1, 36, 33, 30) * 2 - 1
    config = InferenceConfig(size=(16,), overlap=0.5)

    def patchwise(device: torch.device) -> torch.Tensor:
        runner = build_runner(config, "patch", network(), device, Precision("fp32", device))
        return runner.reconstruct(image, torch.Generator().manual_seed(3))

    found = patchwise(accelerator)
    assert found.is_cpu
    assert_close(found, patchwise(CPU), TOLERANCES["tf32"])


def test_scores_are_the_cpus(accelerator: torch.device) -> None:
    """Of two channels, and of a reconstruction that is channels last."""
    image = torch.rand(2, 24, 25, 26) * 2 - 1
    other = (image + 0.1 * torch.randn_like(image)).clamp(-1, 1)

    def errors(device: torch.device) -> dict[str, float]:
        one = image.to(device)
        two = other.to(device)[None].contiguous(memory_format=torch.channels_last_3d)[0]
        return vars(measure([one, two], [(0, 1)], one, Buckets([]))[0][WHOLE])

    assert errors(accelerator) == pytest.approx(errors(CPU), rel=1e-4)


@pytest.mark.parametrize("attention", ["none", "global"])
def test_it_compiles(gpu: torch.device, attention: str) -> None:
    """Within the settings of a training: the compiler reads them by torch's old interface."""
    config = tiny_model(attention=AttentionSpec(bottleneck=attention))
    model = CustomVAE(config).to_device(gpu)
    images = torch.rand(2, 1, 16, 16, 16, device=gpu)
    with fast_kernels(gpu):
        own = model(images).reconstruction
        compiled = torch.compile(model)(images).reconstruction
    assert_close(compiled.detach(), own.detach(), TOLERANCES["tf32"])
