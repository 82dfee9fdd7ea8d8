"""Memory that is asked for, and what a call takes."""

import os

import pytest
import torch

from vae3d.runtime.memory import free_memory, memory_budget, peak_memory

CPU = torch.device("cpu")


def test_memory_is_a_number_of_gib_or_half_of_what_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert memory_budget(None, CPU) is None
    assert memory_budget(3, CPU) == 3.0
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert memory_budget("auto", CPU) == pytest.approx(total / 2**30 / 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory_budget("auto", CPU) == pytest.approx(total / 2**30 / 8), "shared by the ranks"
    assert 2**20 < free_memory(CPU) < total


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
