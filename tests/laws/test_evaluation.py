"""Laws 5, 8 and 11 where a run is evaluated: ranks, round trips, posterior samples."""

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.conftest import (
    assert_same_output,
    run_distributed,
    tiny_model,
    tiny_trainer,
    tiny_training,
)
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.train_run import train
from vae3d.data.config import CTConfig, SyntheticConfig
from vae3d.evaluation.config import EvaluationConfig
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.patching.samplers import WholeVolume
from vae3d.phantoms.chest import phantom
from vae3d.runtime.precision import Precision

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)


def numbers(folder: Path) -> list[list[str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return [row for row in csv.reader(file) if not row[0].startswith("#")]


def evaluation(folder: Path, output: Path) -> EvalConfig:
    quiet = EvaluationConfig(media=[], precision="fp32")
    return EvalConfig(
        run=str(folder / "run"), mode="patch", split="all", output=str(output),
        device="cpu", evaluation=quiet,
    )  # fmt: skip


def test_two_ranks_score_each_case_once_and_the_same(tmp_path: Path) -> None:
    train(tiny_training(tmp_path, data=SyntheticConfig(shape=(16, 16, 16), count=5)))
    evaluate(evaluation(tmp_path, tmp_path / "one"))
    run_distributed(_evaluate, tmp_path)
    assert len(numbers(tmp_path / "one")) == 1 + 5
    assert numbers(tmp_path / "one") == numbers(tmp_path / "two")
    one, two = (json.loads((tmp_path / n / "summary.json").read_text()) for n in ("one", "two"))
    assert one["latents"]["elements"] > 0
    assert one["sets"]["swd"]["mean"] > 0
    assert one["sharpness"]["cases"] == 5
    assert one.pop("date") <= two.pop("date")
    assert one == two
    # The page names the command and its output folder; the rest is the same.
    pages = [(tmp_path / name / "index.html").read_text() for name in ("one", "two")]
    assert len(pages[0]) == len(pages[1])


def _evaluate(rank: int, folder: Path) -> None:
    evaluate(evaluation(folder, folder / "two"))


@pytest.mark.parametrize("shape", [(16, 16, 16), (10, 21, 13), (18, 11)], ids=str)
def test_posterior_sample_does_not_depend_on_the_cut(shape: tuple[int, ...]) -> None:
    """A model whose kernels see one voxel alone: cut or whole must be the same sample."""
    model = CustomVAE(tiny_model(len(shape), fixed_std=1.0, variance="fixed"))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 2 and "downsample" not in name:
                centre = tuple(n // 2 for n in weight.shape[2:])
                kept = weight[(slice(None), slice(None), *centre)].clone()
                weight.zero_()
                weight[(slice(None), slice(None), *centre)] = kept
            elif "downsample" in name and weight.dim() > 2:
                # Of a kernel of 3 at stride 2 the centre and the next voxel are in the cell.
                for axis in range(2, weight.dim()):
                    weight.select(axis, 0).zero_()
    image = torch.rand(1, *shape) * 2 - 1
    results = [
        build_runner(config, mode, model, CPU, FP32).reconstruct(
            image, torch.Generator().manual_seed(5)
        )
        for mode, config in (
            ("full", InferenceConfig()),
            ("patch", InferenceConfig(size=(4,), overlap=0.5)),
            ("patch", InferenceConfig(size=(7,), overlap=0.3, blend="gaussian", batch_size=1)),
        )
    ]
    for other in results[1:]:
        assert_same_output(other, results[0], model)
    mode = build_runner(InferenceConfig(), "full", model, CPU, FP32).reconstruct(image)
    assert not torch.equal(mode, results[0])


@pytest.mark.parametrize("threads", [2, 4, 3])
def test_patches_side_by_side_are_patches_one_after_the_other(threads: int) -> None:
    model, image = CustomVAE(tiny_model(3)), torch.rand(1, 20, 13, 22) * 2 - 1

    def seen(threads: int, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        torch.set_num_threads(threads)
        config = InferenceConfig(size=(8,), overlap=0.5, batch_size=batch)
        runner, means = build_runner(config, "patch", model, CPU, FP32), []
        patchwise = runner.reconstruct(image, None, lambda posterior: means.append(posterior.mean))
        return patchwise, torch.cat(means)

    before = torch.get_num_threads()
    try:
        # One thread takes a batch as it is; posteriors come in the order of the patches.
        for found, alone in zip(seen(threads, 4), seen(1, 1), strict=True):
            assert_same_output(found, alone, model)
    finally:
        torch.set_num_threads(before)


def test_reconstruction_lies_on_the_scan(tmp_path: Path) -> None:
    """Written back in the file's own axes, affine and type, also after resampling."""
    affine = np.array([[0, -1.5, 0, 40], [0.1, 0, 2, -30], [3, 0, 0.1, 7], [0, 0, 0, 1.0]])
    for index in range(3):
        voxels = phantom((12, 20, 16), 0, index).transpose(1, 0, 2).round().astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"scan{index}.nii.gz")
    data = CTConfig(root=str(tmp_path), spacing=(3.0, 3.0, 3.0))
    train(tiny_training(tmp_path, data=data, patching=WholeVolume(), trainer=tiny_trainer()))
    config = evaluation(tmp_path, tmp_path / "out")
    config.evaluation.save_reconstructions = True
    evaluate(config)
    for index in range(3):
        written = nib.load(tmp_path / f"out/reconstructions/scan{index}.nii.gz")
        original = nib.load(tmp_path / f"scan{index}.nii.gz")
        assert written.shape == original.shape
        np.testing.assert_allclose(written.affine, original.affine, atol=1e-4)
        values = written.get_fdata()
        assert -1000 <= values.min() <= values.max() <= 1000


def test_weights_are_chosen_by_the_shell_correlation(tmp_path: Path) -> None:
    train(tiny_training(tmp_path, trainer=tiny_trainer(best_by="fsc")))
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    scores = [float(row["fsc"]) for row in rows]
    assert len({*scores}) == len(rows) == 2
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (summary["best_by"], summary["best_score"]) == ("fsc", max(scores))
    # No other score of sharpness is measured in a validation.
    assert [name for name in rows[0] if name.startswith(("fsc", "power", "stair"))] == ["fsc"]


def test_scores_say_their_protocol(tmp_path: Path) -> None:
    train(tiny_training(tmp_path))
    result = evaluate(evaluation(tmp_path, tmp_path / "out"))
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["protocol"]["intensity"] == {
        "kind": "window", "low": -1000.0, "high": 1000.0, "unit": "HU",
    }  # fmt: skip
    assert summary["protocol"]["patch_size"] == [8, 8, 8]
    assert summary["scores"]["psnr"]["mean"] == pytest.approx(result.mean("psnr"))
    assert summary["protocol"]["data_range"] == "the intensity range, high - low"
    assert (tmp_path / "out/scores.csv").read_text().startswith("case_id,low,high,")
