"""Volumes that go through a model at the same time: the same results, and `memory` is shared."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import ModelRunner, PatchRunner
from vae3d.runtime.precision import Precision
from vae3d.runtime.threads import Lanes

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def built(memory: float | None = None) -> ModelRunner:
    torch.manual_seed(0)
    model = CustomVAE(tiny_model(dropout=0.2))
    return ModelRunner(model, CPU, Precision("fp32", CPU), memory)


@pytest.mark.parametrize("training", [False, True])
def test_volumes_at_the_same_time_are_those_one_by_one(two_threads: None, training: bool) -> None:
    """Also if the model is in training mode, as before a validation, which it is in again."""
    runner = built()
    runner.model.train(training)
    images = [torch.rand(1, 8, 8, 8 + 4 * (n % 3)) * 2 - 1 for n in range(12)]
    torch.set_num_threads(1)
    expected = [runner.reconstruct(image) for image in images]
    torch.set_num_threads(2)
    with runner.concurrently(len(images)) as count, Lanes.of(count) as lanes:
        assert count == 2
        found = [*lanes.map(runner.reconstruct, images)]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert runner.model.training is training


def test_one_volume_has_all_threads_and_patches_have_lanes_of_their_own(two_threads: None) -> None:
    with built().concurrently(1) as count:
        assert count == 1
    config, model = InferenceConfig(size=(8,)), CustomVAE(tiny_model())
    with PatchRunner(model, CPU, Precision("fp32", CPU), config).concurrently(9) as count:
        assert count == 1


def test_volumes_share_the_memory(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that needs all of it is alone."""
    runner, used, peak, lock = built(memory=4.0), 0.0, 0.0, threading.Lock()
    large = 1, 16, 8, 8
    monkeypatch.setattr(runner, "_fits", lambda shape, gib: gib >= (4 if shape[0] == 16 else 2))
    given: dict[int, set[float]] = {8: set(), 16: set()}

    def reconstruct(image: torch.Tensor) -> None:
        nonlocal used, peak
        with runner._share(tuple(image.shape[1:])) as gib:
            assert gib is not None
            with lock:
                used += gib
                peak = max(peak, used)
                given[image.shape[1]].add(gib)
            time.sleep(0.02)
            with lock:
                used -= gib

    small = (1, 8, 8, 8)
    shapes = [small, small, large, small, small, large, large, small, small]
    with runner.concurrently(len(shapes)) as count, Lanes.of(count) as lanes:
        [*lanes.map(reconstruct, map(torch.zeros, shapes))]
    assert (peak, given) == (4.0, {8: {2.0}, 16: {4.0}})
