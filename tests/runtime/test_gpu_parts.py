"""What `make gpu` does: rows are measured once, errors do not end it, and the page is written.

The parts themselves run in `make gpu TINY=1`.
"""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT

ABOUT = {
    "device": "a device", "kind": "cuda", "torch": "2.11.0", "cudnn": "1", "python": "3.12.1",
    "commit": "abc",
}  # fmt: skip


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package of the scripts."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return pytest.importorskip("gpu.page")


@pytest.mark.usefixtures("gpu")
def test_rows_are_measured_once_and_failed_ones_again(tmp_path: Path) -> None:
    from gpu.results import OUT_OF_MEMORY, Results, Row, Task

    calls: list[str] = []

    def task(key: str, error: Exception | None = None) -> Task:
        def measure() -> Row:
            calls.append(key)
            if error:
                raise error
            return {"value": 1}

        return Task("train", key, measure)

    tasks = [task("a"), task("b", torch.OutOfMemoryError("no")), task("c", ValueError("odd"))]
    assert Results(tmp_path, ABOUT).run(tasks, minutes=0) == 3
    assert calls == []
    results = Results(tmp_path, ABOUT)
    assert results.run(tasks, minutes=9) == 0
    assert results.of("train")["b"]["error"] == OUT_OF_MEMORY
    assert results.failed() == ["train: c: ValueError: odd"]
    # The same command measures what failed; other machines and commits all.
    again = Results(tmp_path, ABOUT)
    again.run([task("a"), tasks[1], task("c")], minutes=9)
    assert calls == ["a", "b", "c", "b", "c"]
    assert again.failed() == []
    assert Results(tmp_path, {**ABOUT, "commit": "def"}).rows == {}


def test_the_page_has_no_numbers_that_were_not_measured(gpu: ModuleType, tmp_path: Path) -> None:
    from gpu.results import Results
    from gpu.speed import Scale, norms

    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    if "No GPU has run it yet" in text:
        assert text == gpu.page(None)
    results = Results(tmp_path, ABOUT)
    assert gpu.page(results) == gpu.page(None)
    measured = norms(Scale(torch.device("cpu"), True), 16, 4)
    speed = {
        "model": "small", "side": 64, "precision": "fp32", "compiled": False, "batch": 4,
        "voxels_per_second": 2.5e6, "gib": 1.25, "share_of_product": 0.4,
        "share_of_convolution": 0.6,
    }  # fmt: skip
    results.rows = {
        "tests": {"test_model": {"outcomes": {"a": "passed", "b": "skipped"}}},
        "train": {"norms": measured, "1": speed, "large 128 bf16": {"error": "out of memory"}},
        "peers": {"vae3d2d 64 fp32 train": {"skipped": "vae3d2d is not installed"}},
    }
    shown = gpu.page(results)
    assert "| small | 4 x 64^3 | TF32 | 2.5 | 1.25 | 40% | 60% |" in shown
    assert "| large | 128 | bf16 | out of memory |" in shown
    assert "| test_model | 1 | 1 |  |" in shown
    assert "| channels | x * 1.5 | layer | rms | group |" in shown


@pytest.mark.usefixtures("gpu")
def test_wheels_are_the_versions_of_the_tests() -> None:
    from gpu.wheels import pinned, requirements

    wanted = [*requirements()]
    assert f"hydra-core=={pinned()['hydra-core']}" in wanted
    assert all("==" in requirement for requirement in wanted)
    assert not any(requirement.startswith("torch") for requirement in wanted)


def test_without_a_gpu_it_is_one_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    command = [sys.executable, str(ROOT / "scripts" / "measure_gpu.py"), "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == (
        "vae3d: no CUDA device is visible to torch; --tiny rehearses on the CPU\n"
    )
