"""`describe_machine`: processor, memory and software that a table was measured with."""

import importlib.metadata
import os
import platform
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "numpy", "nibabel", "blosc2")
PAGE = "docs/benchmarks.md"


def describe_machine() -> dict[str, Any]:
    """Return the machine as plain values."""
    # Imported here: the process that starts the others measures nothing and needs no torch.
    import torch

    from vae3d.runtime.distributed import choose_device
    from vae3d.runtime.precision import has_bf16

    device = choose_device("auto")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "quota": cpu_quota(),
        "threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bf16": bool(has_bf16(torch.device("cpu"))),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def machine_sentence(machine: dict[str, Any]) -> str:
    """Return the machine as one sentence without its full stop."""
    cores = f"{machine['cores']} cores"
    if machine["quota"] is not None:
        cores += f" with a quota of {machine['quota']:g}"
    kind = f"{machine['capability']}, {'with' if machine['bf16'] else 'without'} bfloat16"
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    return (
        f"{cores} ({machine['cpu']}, {kind}){gpu}, {machine['threads']} threads, "
        f"{machine['memory_gib']:.0f} GiB, Python {machine['python']}, {libraries}"
    )


def cpu_name() -> str:
    """Return the name of the processor."""
    try:
        named = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        named = None
    return named[1].strip() if named else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return the cores that the control group allows on average, or None without a limit."""
    for file, parse in ((root / "cpu.max", _version_2), (root / "cpu", _version_1)):
        try:
            return parse(file)
        except (OSError, ValueError):
            continue
    return None


def _version_2(file: Path) -> float | None:
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _version_1(folder: Path) -> float | None:
    quota, period = (
        int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period")
    )
    return None if quota < 0 else quota / period


def version(name: str) -> str | None:
    """Return the version of an installed package, or None if it is absent."""
    if find_spec(name) is None:
        return None
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "without a version"


def commit_of(folder: Path) -> str:
    """Return the commit of a working tree; `-changed` is appended if files differ from it.

    The page of results does not count: it changes with every table.
    """
    described = _git(folder, "rev-parse", "--short=10", "HEAD")
    if described is None:
        return "unknown-changed"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".", f":!{PAGE}")
    return f"{described}-changed" if changed else described


def _git(folder: Path, *words: str) -> str | None:
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
