"""One process alone, devices by name, and ranks that are lost."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import nn

from vae3d.errors import ConfigError, RankError
from vae3d.runtime import distributed
from vae3d.runtime.distributed import (
    Distributed,
    choose_device,
    lost_ranks_as_errors,
    start_distributed,
)

CPU = torch.device("cpu")


def test_one_process_alone() -> None:
    alone = Distributed()
    value = torch.tensor([1.0, 2.0])
    assert alone.is_main
    assert not Distributed(1, 2).is_main
    assert torch.equal(alone.sum(value), value)
    assert (alone.any(True), alone.any(False)) == (True, False)
    assert alone.gather("a") == ["a"]
    alone.barrier()
    layer = nn.Linear(1, 1)
    assert alone.wrap(layer) is layer


def test_devices_by_name() -> None:
    assert choose_device("cpu", 7) == CPU
    with pytest.raises(ConfigError, match="must be auto, cpu or cuda, got 'tpu'"):
        choose_device("tpu")
    with pytest.raises(ConfigError, match=r"^device must be .*'mps': on Apple's GPUs .* the CPU"):
        choose_device("mps", key="device")
    with pytest.raises(ConfigError, match=r"trainer\.device=cuda:0 is for one process"):
        choose_device("cuda:0", 0, world=2)
    with pytest.raises(ConfigError, match=r"trainer\.device=cuda:97: \d+ GPUs are visible"):
        choose_device("cuda:97")
    for name in ("cuda:", "cuda:-1", "cuda:x", "cuda:0x", "cpu:0"):
        with pytest.raises(ConfigError, match="must be auto, cpu or cuda, got"):
            choose_device(name)
    if not torch.cuda.is_available():
        assert choose_device("auto", 3) == CPU
        with pytest.raises(ConfigError, match=r"local rank 0 \(0 visible\); start fewer ranks"):
            choose_device("cuda", 0, world=2)
        with pytest.raises(ConfigError, match=r"^device=cuda needs a GPU, but none .*device=cpu$"):
            choose_device("cuda", key="device")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gloo/transport/tcp/pair.cc] Connection closed by peer", "another rank has ended"),
        ("gloo/transport: Timed out waiting 1000ms", "did not answer in time"),
        ("NCCL watchdog Timeout", "did not answer in time"),
    ],
)
def test_a_lost_rank_is_named(text: str, message: str) -> None:
    with pytest.raises(RankError, match=rf"step 7: .*{message}"), lost_ranks_as_errors(lambda: 7):
        raise RuntimeError(text)


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match=r"^sizes differ$"), lost_ranks_as_errors(lambda: 7):
        raise RuntimeError("sizes differ")


def test_a_group_is_joined_and_left_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(
        distributed.dist,
        "init_process_group",
        lambda backend, timeout: calls.append((backend, timeout.total_seconds())),
    )
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: calls.append("left"))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with start_distributed("cpu", timeout=7) as found:
        assert (found.rank, found.world, found.device) == (1, 2, CPU)
        assert calls == [("gloo", 7.0)]
    assert calls == [("gloo", 7.0), "left"]
    with contextlib.suppress(KeyError), start_distributed("cpu"):
        raise KeyError
    assert calls[2:] == [("gloo", 1800.0), "left"]
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    with start_distributed("cpu") as found:
        assert (found.rank, found.world) == (0, 1)
    assert len(calls) == 4, "alone there is no group"


def test_gpus_exchange_by_nccl_and_flags_by_gloo(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def join(backend: str, **given: Any) -> None:
        calls.append((backend, given["device_id"]))

    monkeypatch.setattr(distributed.dist, "init_process_group", join)
    monkeypatch.setattr(distributed.dist, "destroy_process_group", lambda: calls.append("left"))
    device = torch.device("cuda", 1)
    group = distributed._process_group
    with group(device, timedelta(seconds=7)):
        pass
    with contextlib.suppress(KeyError), group(device, timedelta(seconds=7)):
        raise KeyError
    joined = ("cpu:gloo,cuda:nccl", device)
    # nccl would wait for the others after an error.
    assert calls == [joined, "left", joined]
