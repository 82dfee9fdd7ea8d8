"""Memory that is asked for, and what a call takes."""

import os

import pytest
import torch

from vae3d.errors import ConfigError
from vae3d.runtime.memory import check_memory, free_memory, peak_memory, planned_memory

CPU = torch.device("cpu")


def test_memory_is_a_number_of_gib_or_half_of_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert planned_memory(None, CPU) is None
    assert planned_memory(3, CPU) == 3.0
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert planned_memory("auto", CPU) == pytest.approx(total / 2**30 / 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert planned_memory("auto", CPU) == pytest.approx(total / 2**30 / 8), "shared by the ranks"
    assert 2**20 < free_memory(CPU) < total


def test_what_is_no_memory_is_refused() -> None:
    for right in (None, "auto", 1, 0.5, 1e9):
        check_memory("memory", right)
    for wrong in (0, -1, "all", float("inf"), float("nan"), True, False):
        with pytest.raises(ConfigError, match="memory must be a positive number of GiB"):
            check_memory("memory", wrong)


def test_the_peak_is_what_a_call_takes_above_what_is_held() -> None:
    held = torch.ones(2**24)
    done = []

    def take() -> None:
        done.append(float(torch.ones(2**24).sum()))

    peak = peak_memory(take, CPU)
    assert done == [2.0**24]
    assert held.sum() == 2**24
    if peak is not None:
        assert 48 * 2**20 < peak < 112 * 2**20
