"""`module_command` and `fresh`: parts of a table that need a Python of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ROOT / "scripts"
"""Where processes start: `python -m` also searches the folder that it is started in, and another
one could hold another vae3d."""


def source() -> Path:
    """Return the checkout whose vae3d is measured: this one, or that of `--source`."""
    return Path(os.environ.get("VAE3D_BENCH_SOURCE", ROOT))


def environment(of: Path | None = None) -> dict[str, str]:
    """Return the environment in which `vae3d` is that of a checkout, and `benchmarks` this one."""
    folder = source() if of is None else of
    paths = [str(folder), str(SCRIPTS), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "VAE3D_BENCH_SOURCE": str(folder),
    }


def module_command(module: str, *words: str) -> list[str]:
    """Return the command line that runs a module."""
    return [sys.executable, "-m", module, *words]


def fresh(module: str, *words: str) -> Any:
    """Run a module in a new Python; return the JSON of the last line that it prints."""
    done = subprocess.run(
        module_command(module, *words),
        env=environment(),
        cwd=SCRIPTS,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
