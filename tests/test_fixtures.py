"""Files that version 0.1.0 wrote: they open, and every value in them is still the same."""

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray

from tests.conftest import vae3d
from vae3d import CustomVAE, LatentDataset
from vae3d.commands.compare import CompareConfig
from vae3d.commands.compare_run import compare
from vae3d.commands.decode import DecodeConfig
from vae3d.commands.decode_run import decode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.data.build import open_cases
from vae3d.data.config import StoreConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig
from vae3d.loading.patches import Draw, PatchDataset
from vae3d.logger.console import ProgressBar
from vae3d.patching.samplers import RandomPatches
from vae3d.run.saved import load_config
from vae3d.settings.saved import describe

FIXTURES = Path(__file__).parent / "fixtures"
V0_1 = FIXTURES / "v0_1"
TOLERANCE = 1e-5
STEPS, MORE_STEPS = 30, 34
MODES = ("full", "patch")
STORES = ("store", "store_mri")
# Half of the intensity window [-1000, 1000] HU, the unit of [-1, 1] in the model.
HALF_WINDOW = 1000.0


def expected_array(name: str) -> NDArray[Any]:
    with np.load(V0_1 / "expected.npz") as arrays:
        return arrays[name]


def expected_numbers(name: str) -> Any:
    return json.loads((V0_1 / "expected.json").read_text())[name]


def assert_close(found: NDArray[Any], expected: NDArray[Any], unit: float = 1.0) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * unit)


def reconstruction(which: str, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """An image (1, 1, D, H, W) after encoder and decoder; `which` is `best` or `latest`."""
    model = CustomVAE.from_pretrained(V0_1 / "run/weights" / which)
    with torch.no_grad():
        latent = model.encode(torch.from_numpy(image)).mode()
        return model.decode(latent).numpy()


def first_patch(store: str) -> NDArray[np.float32]:
    """The first training patch (1, 8, 8, 8) of a store."""
    cases = open_cases(StoreConfig(root=str(V0_1 / store)), ProgressBar("prepare", False))
    sampler = RandomPatches(size=(8, 8, 8), per_volume=2, foreground=0.5)
    train = cases.survey("train")
    return PatchDataset(cases, train, sampler, seed=0)[Draw(0, 0, 1.0)].image.numpy()


def evaluation_means(run: Path, mode: str) -> dict[str, float | None]:
    """The mean of every score over the run's test cases."""
    settings = EvaluationConfig(
        media=[],
        report=False,
        precision="fp32",
        inference=InferenceConfig(overlap=0.25, blend="hann", memory=None),
    )
    config = EvalConfig(run=str(run), mode=mode, device="cpu", evaluation=settings)
    scores = evaluate(config).summary()["scores"]
    return {name: score["mean"] for name, score in scores.items()}


def encoded_latent() -> NDArray[np.float32]:
    """The first latent (C, *size), sampled and normalised."""
    return LatentDataset(V0_1 / "latents")[0]["latent"].numpy()


def latent_statistics() -> dict[str, Any]:
    """The scale of the encoded latents, and of those that the best weights were validated on."""
    validated = CustomVAE.from_pretrained(V0_1 / "run/weights/best").statistics
    assert validated is not None
    encoded = LatentDataset(V0_1 / "latents").statistics
    return {"encoded": encoded.describe(), "validated": validated.describe()}


def decode_scans(folder: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Values in HU and affine of every decoded latent, by the name of its scan."""
    config = DecodeConfig(
        run=str(V0_1 / "run"),
        input=str(V0_1 / "latents"),
        output=str(folder / "decoded"),
        dtype="float32",
        device="cpu",
        memory=None,
    )
    scans = {path.name: nibabel.load(path) for path in sorted(decode(config).glob("*.nii.gz"))}
    return {name: (np.asarray(scan.dataobj), scan.affine) for name, scan in scans.items()}


def resume(run: Path) -> None:
    """Train to MORE_STEPS with the command that trained the run."""
    replaced = {"runs_dir": str(run.parent), "trainer.steps": str(MORE_STEPS)}
    words = (V0_1 / "train.txt").read_text().split()
    kept = [word for word in words if word.partition("=")[0] not in replaced]
    changed = [f"{key}={value}" for key, value in replaced.items()]
    done = vae3d("train", *kept, *changed, cwd=run.parent)
    assert done.returncode == 0, done.stderr


def metrics(run: Path) -> list[dict[str, str]]:
    return [*csv.DictReader((run / "metrics.csv").read_text().splitlines())]


def resumed_losses(run: Path) -> list[float]:
    """The training loss of each step after STEPS."""
    rows = [row for row in metrics(run) if row["split"] == "train"]
    return [float(row["loss"]) for row in rows if int(row["step"]) > STEPS]


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value of a plain tree by its dotted path."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, item in items:
        below = f"{path}.{key}".lstrip(".")
        is_branch = isinstance(item, dict | list) and item
        found.update(leaves(item, below) if is_branch else {below: item})
    return found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of the run that may be written to."""
    return shutil.copytree(V0_1 / "run", tmp_path / "run")


def test_the_files_are_those_that_version_0_1_wrote() -> None:
    lines = (FIXTURES / "v0_1.sha256").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    files = [path for path in V0_1.rglob("*") if path.is_file()]
    digests = {
        path.relative_to(FIXTURES).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    assert digests == listed


@pytest.mark.parametrize("which", ["best", "latest"])
def test_weights_reconstruct_the_same_image(which: str) -> None:
    assert_close(reconstruction(which, expected_array("input")), expected_array(which))


@pytest.mark.parametrize(
    "path",
    [V0_1 / "run/config.yaml", *sorted(V0_1.glob("configs/*.yaml"))],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_every_setting_is_read(path: Path) -> None:
    written = leaves(yaml.safe_load(path.read_text()))
    read = leaves(describe(load_config(path)))
    assert {key: read.get(key) for key in written} == written


def test_the_same_command_with_more_steps_resumes(run: Path) -> None:
    before = metrics(run)
    resume(run)
    after = metrics(run)
    for old, new in zip(before, after, strict=False):
        assert {key: new.get(key) for key in old} == old
    assert resumed_losses(run) == pytest.approx(expected_numbers("resumed_losses"), rel=1e-4)
    status = json.loads((run / "status.json").read_text())
    assert (status["state"], status["step"]) == ("finished", MORE_STEPS)


@pytest.mark.parametrize("mode", MODES)
def test_evaluation_yields_the_same_means(run: Path, mode: str) -> None:
    found, expected = evaluation_means(run, mode), expected_numbers("means")[mode]
    stored = json.loads((V0_1 / "run/report" / mode / "summary.json").read_text())["scores"]
    assert {*stored} == {*expected} <= {*found}
    for name, value in expected.items():
        # A score that no case has, of a tissue for example, has no mean.
        wanted = value if value is None else pytest.approx(value, rel=TOLERANCE)
        assert (name, found[name]) == (name, wanted)
        assert (name, stored[name]["mean"]) == (name, wanted)


@pytest.mark.parametrize("store", STORES)
def test_a_store_yields_the_same_patch(store: str) -> None:
    assert_close(first_patch(store), expected_array(store))


def test_latents_and_their_scale_are_the_same() -> None:
    assert_close(encoded_latent(), expected_array("latent"))
    expected, found = leaves(expected_numbers("statistics")), leaves(latent_statistics())
    assert {key: found.get(key) for key in expected} == pytest.approx(expected, rel=TOLERANCE)


def test_latents_decode_to_the_same_scans(tmp_path: Path) -> None:
    scans = decode_scans(tmp_path)
    assert [*scans] == [path.name for path in sorted((V0_1 / "scans").iterdir())]
    for name, (values, affine) in scans.items():
        assert_close(values, expected_array(f"decoded.{name}"), HALF_WINDOW)
        assert_close(affine, expected_array(f"affine.{name}"))


def test_stored_reports_compare(tmp_path: Path) -> None:
    reports = [str(V0_1 / "run/report" / mode) for mode in MODES]
    result = compare(CompareConfig(run=reports, output=str(tmp_path / "compared")))
    assert len(result.common) == len(result.reports[0].cases) == 2
    psnr = next(score for score in result.scores if score.name == "psnr")
    expected = [expected_numbers("means")[mode]["psnr"] for mode in MODES]
    assert psnr.means == pytest.approx(expected, rel=TOLERANCE)
