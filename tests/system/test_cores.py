"""The cores of a process, by affinity and by the quotas of cgroups of both versions."""

import os
from pathlib import Path

import pytest
import torch

from vae3d.runtime.threads import follow_quota
from vae3d.system import cores
from vae3d.system.cores import quota, usable_cores

SECOND = "0::/jobs/mine\n"
FIRST = "4:memory:/jobs\n3:cpu,cpuacct:/jobs/mine\n1:name=systemd:/\n"


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"jobs/mine": "max 100000"}, None),
        ({"jobs/mine": "300000 100000"}, 3),
        ({"jobs/mine": "250000 100000"}, 2),
        ({"jobs/mine": "50000 100000"}, 1),
        ({"jobs/mine": "max 100000", "jobs": "400000 100000"}, 4),
        ({"jobs/mine": "800000 100000", "jobs": "400000 100000"}, 4),
        ({"": "600000 100000"}, 6),
        ({"jobs/mine": "nonsense"}, None),
        ({"jobs/mine": "0 0"}, None),
        ({"other": "100000 100000"}, None),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_the_smallest_quota_counts(
    cgroups: Path, limits: dict[str, str], expected: int | None, version: int
) -> None:
    write(cgroups / "membership", SECOND if version == 2 else FIRST)
    for place, text in limits.items():
        work, _, period = text.partition(" ")
        if version == 2:
            write(cgroups / "cgroup" / place / "cpu.max", text)
        else:
            folder = cgroups / "cgroup/cpu" / place
            write(folder / "cpu.cfs_quota_us", work.replace("max", "-1"))
            write(folder / "cpu.cfs_period_us", period)
    assert quota() == expected


def test_without_cgroups_the_affinity_counts(cgroups: Path) -> None:
    assert quota() is None
    if hasattr(os, "sched_getaffinity"):
        assert usable_cores() == len(os.sched_getaffinity(0))


def test_torch_follows_the_quota_unless_told_otherwise(
    cgroups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(cgroups / "membership", SECOND)
    write(cgroups / "cgroup/jobs/cpu.max", "200000 100000")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        monkeypatch.setenv("OMP_NUM_THREADS", "5")
        follow_quota()
        assert torch.get_num_threads() == 5
        monkeypatch.delenv("OMP_NUM_THREADS")
        follow_quota()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
