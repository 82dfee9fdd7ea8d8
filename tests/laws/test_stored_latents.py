"""A decoder that is trained on stored latents is the one that is trained on their scans."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import rounding, run_distributed, tiny_model, tiny_trainer, tiny_training
from tests.laws.test_accumulation import assert_same, weights_after
from tests.laws.test_resume import assert_equal_states, final_state
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.train_run import train
from vae3d.data.config import SyntheticConfig
from vae3d.data.loaded import LoadedCases
from vae3d.data.phantoms import PhantomSource
from vae3d.errors import CheckpointError, ConfigError, DataError
from vae3d.latents.file import read_latent, write_latent
from vae3d.latents.folder import latent_file, read_manifest, write_manifest
from vae3d.loading.encoded import EncodedLatents, open_latents
from vae3d.loading.latents import LatentBatch
from vae3d.loss.config import EquivarianceSpec, LossConfig
from vae3d.model.frozen import freeze
from vae3d.model.gaussian import DiagonalGaussian
from vae3d.patching.config import PatchingConfig, RandomPatchesConfig, WholeVolumeConfig
from vae3d.patching.region import Region
from vae3d.patching.samplers import GridPatches
from vae3d.run.config import TrainConfig
from vae3d.runtime.seeding import seed_global

# No side is a multiple of the factor 2.
DATA = SyntheticConfig(shape=(23, 17, 19), count=6, val_fraction=0.3, test_fraction=0.0)
PATCHES = RandomPatchesConfig(size=(8,), per_volume=3)


def training(
    folder: Path, latents: Path | None, patching: PatchingConfig = PATCHES, **changes: Any
) -> TrainConfig:
    """Four steps of four patches, with noise and a posterior of its own."""
    trainer = {
        "optimizer": "sgd",
        "lr": 1e-2,
        "batch_size": 4,
        "steps": 4,
        "halo": None,
        **changes,
    }
    return tiny_training(
        folder,
        data=DATA,
        patching=patching,
        model=tiny_model(dropout=0.1),
        loss=LossConfig(
            terms={"l1": 1.0},
            kl_weight=1e-2,
            latent_noise=0.3,
            equivariance=EquivarianceSpec(weight=0.5),
        ),
        trainer=tiny_trainer(
            **{"train": ["decoder.*"], "latents": latents and str(latents), **trainer}
        ),
    )


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents of the encoder with which each of these trainings begins."""
    folder = tmp_path_factory.mktemp("encoded")
    run = train(training(folder, None, steps=1, train=["decoder.head.*"]))
    return encode(EncodeConfig(run=str(run), output=str(folder / "latents"), device="cpu"))


@pytest.fixture(scope="module")
def cases() -> LoadedCases:
    return LoadedCases(PhantomSource(DATA), DATA)


def model_of() -> CustomVAE:
    seed_global(0, "model")
    model = CustomVAE(training(Path(), None).model)
    freeze(model, "decoder")
    return model


def opened(latents: Path, cases: LoadedCases, halo: int | None = None) -> EncodedLatents:
    found = open_latents(str(latents), halo, model_of(), cases, cases.survey("train"), (8, 8, 8))
    assert found is not None
    return found


def test_the_encoder_need_not_be_asked_for_whole_volumes(latents: Path, tmp_path: Path) -> None:
    """The noise of the posterior and of the latent are the same, and so are all losses.

    Without `latent_noise` in relation to each case, since stored latents have statistics.
    """
    after, rows = [], []
    for name, folder in (("scans", None), ("latents", latents)):
        settings = training(tmp_path / name, folder, WholeVolumeConfig())
        settings = replace(settings, loss=replace(settings.loss, latent_noise=0.0))
        run = train(settings)
        after.append(weights_after(run))
        rows.append(np.genfromtxt(run / "metrics.csv", delimiter=",", names=True))
    assert_same(*after)
    for name in ("loss", "l1", "kl", "equivariance"):
        np.testing.assert_allclose(rows[0][name], rows[1][name], rtol=1e-4)
    start = model_of().state_dict()
    assert all(torch.equal(after[1][n], v) for n, v in start.items() if n.startswith("encoder."))
    assert not torch.equal(after[1]["decoder.head.weight"], start["decoder.head.weight"])


def test_the_decoder_of_given_weights_is_trained(latents: Path, tmp_path: Path) -> None:
    """Whatever the seed; the deviations of their latents outlast a restart without the weights."""
    parent = tmp_path / "parent"
    shutil.copytree(latents.parent / "run", parent)
    given = CustomVAE.from_pretrained(parent / "weights/best")
    assert given.statistics is not None
    for name, folder in (("scans", None), ("latents", latents)):
        settings = training(tmp_path / name, folder, train="decoder", halo=folder and 1)
        settings = replace(settings, seed=3, init_from=str(parent))
        run = train(settings)
        state = final_state(run)
        assert state["latent_std"] == pytest.approx(given.statistics.latents_std)
        frozen = {n: v for n, v in given.state_dict().items() if n.startswith("encoder.")}
        assert all(torch.equal(state["model"][n], v) for n, v in frozen.items())
        metrics = (run / "metrics.csv").read_bytes()
        shutil.rmtree(run / "checkpoints/step_00000004")
        parent.rename(tmp_path / "away")
        train(settings)
        (tmp_path / "away").rename(parent)
        assert (run / "metrics.csv").read_bytes() == metrics
        assert_equal_states(final_state(run), state)


def test_a_patch_is_decoded_as_in_the_whole_latent(latents: Path, cases: LoadedCases) -> None:
    torch.manual_seed(1)
    model = CustomVAE(tiny_model(zero_init=False)).eval()
    stored = opened(latents, cases)
    case = cases[int(cases.survey("train")[0])]
    known = read_latent(latents / latent_file(case.case_id))
    with torch.no_grad():
        whole = model.decode(known.mean[None], case.shape)
    covered = torch.zeros(case.shape)
    atol = rounding(model) * float(whole.abs().max())
    sampler = GridPatches(size=(8, 8, 8), overlap=0.0)
    for region in sampler.regions(case.shape):
        inner = stored.aligned(region, case.shape)
        assert all(c % 2 == 0 for c in inner.corner)
        crop = stored.crop(case, inner)
        batch = LatentBatch.of([crop])
        assert batch is not None
        with torch.no_grad():
            output = model(DiagonalGaussian(crop.mean[None], crop.logvar[None]))
        found = batch.inner(output, inner.size, model.factor)
        torch.testing.assert_close(
            found.reconstruction, inner.cut(whole), atol=min(atol, 1e-5), rtol=0
        )
        size = tuple(-(-n // 2) for n in inner.size)
        box = Region(tuple(c // 2 for c in inner.corner), size)
        assert torch.equal(found.posterior.mean[0], box.cut(known.mean))
        assert torch.equal(found.posterior.logvar[0], box.cut(known.logvar))
        covered[inner.slices] += 1
    assert covered.min() >= 1


def test_patches_of_one_size_share_a_batch(latents: Path, cases: LoadedCases) -> None:
    """Also at the borders of a volume, where the halo is on the other side."""
    stored = opened(latents, cases, halo=2)
    case = cases[int(cases.survey("train")[0])]
    sizes = set()
    for corner in ((0, 0, 0), (7, 4, 5), (15, 9, 11), (6, 8, 0)):
        inner = stored.aligned(Region(corner, (8, 8, 8)), case.shape)
        crop = stored.crop(case, inner)
        sizes.add(tuple(crop.mean.shape[1:]))
        for first, offset, side, length in zip(
            inner.corner, crop.offset, crop.mean.shape[1:], (12, 9, 10), strict=True
        ):
            start = first // 2 - offset
            assert offset >= 2 or start == 0
            assert side - offset - 4 >= 2 or start + side == length
    assert sizes == {(8, 8, 8)}
    assert stored.box_size((8, 8, 8)) == (8, 8, 8)


def test_the_loss_is_that_of_each_patch_alone(latents: Path, cases: LoadedCases) -> None:
    """Patches at different places of their boxes, in one batch and alone."""
    stored = opened(latents, cases, halo=1)
    case = cases[int(cases.survey("train")[0])]
    model = CustomVAE(tiny_model(zero_init=False)).eval()
    regions = [Region(corner, (8, 8, 8)) for corner in ((0, 4, 6), (8, 0, 2))]
    crops = [stored.crop(case, region) for region in regions]
    assert crops[0].offset != crops[1].offset
    outputs = []
    for group in (crops, crops[:1], crops[1:]):
        batch = LatentBatch.of(group)
        assert batch is not None
        with torch.no_grad():
            output = model(batch.posterior(torch.device("cpu"), torch.contiguous_format))
        outputs.append(batch.inner(output, (8, 8, 8), model.factor))
    for number in range(2):
        for name in ("reconstruction", "latent"):
            both, alone = getattr(outputs[0], name)[number], getattr(outputs[1 + number], name)[0]
            torch.testing.assert_close(both, alone, atol=1e-5, rtol=0)


def test_a_run_on_latents_resumes_exactly(latents: Path, tmp_path: Path) -> None:
    settings = training(tmp_path, latents, halo=1)
    run = train(settings)
    metrics, state = (run / "metrics.csv").read_bytes(), final_state(run)
    assert len(state["latent_std"]) == 4
    moved = tmp_path / "moved"
    shutil.copytree(latents, moved)
    shutil.rmtree(run / "checkpoints/step_00000004")
    train(training(tmp_path, moved, halo=1))
    assert (run / "metrics.csv").read_bytes() == metrics
    assert_equal_states(final_state(run), state)
    # Another folder, or the scans themselves, are other data.
    shutil.rmtree(run / "checkpoints/step_00000004")
    entries = read_manifest(moved)
    write_manifest(moved, [replace(entry, voxels="0" * 32) for entry in entries])
    for place in (moved, None):
        with pytest.raises(
            (CheckpointError, ConfigError), match=r"training cases were others|halo"
        ):
            train(training(tmp_path, place, halo=1))


def test_ranks_portions_and_lanes_are_one_batch(latents: Path, tmp_path: Path) -> None:
    once = weights_after(train(training(tmp_path / "once", latents, halo=1, portions=1)))
    split: list[dict[str, Tensor]] = []
    for lanes, memory in ((1, None), (4, 1.0)):
        settings = training(
            tmp_path / str(lanes), latents, halo=1, portions=4, lanes=lanes, memory=memory
        )
        split.append(weights_after(train(settings)))
    assert all(torch.equal(value, split[1][name]) for name, value in split[0].items())
    assert_same(once, split[0])
    shutil.copytree(latents, tmp_path / "latents")
    run_distributed(_train_half, tmp_path)
    assert_same(once, weights_after(tmp_path / "run"))


def _train_half(rank: int, folder: Path) -> None:
    train(training(folder, folder / "latents", halo=1, batch_size=2, portions=1))


def test_what_does_not_fit_is_named(latents: Path, tmp_path: Path, cases: LoadedCases) -> None:
    place = tmp_path / "latents"
    shutil.copytree(latents, place)
    entries = read_manifest(place)

    def refused(message: str, error: type[Exception] = DataError, **changes: Any) -> None:
        with pytest.raises(error, match=message):
            train(training(tmp_path, place, **changes))
        assert not (tmp_path / "run/weights").exists()

    refused("trainer.latents are of an encoder that stays", ConfigError, train="all")
    seeds = replace(training(tmp_path, place), seed=5)
    with pytest.raises(ConfigError, match="latents of another encoder than that of this"):
        train(seeds)
    with pytest.raises(
        ConfigError, match=r"trainer\.halo has an effect only with trainer\.latents"
    ):
        train(training(tmp_path, None, halo=2))
    other = replace(training(tmp_path, place), model=tiny_model(latent_channels=3))
    with pytest.raises(
        DataError, match=r"of another network \(latent_channels 4, this one has 3\)"
    ):
        train(other)

    name = cases.case_id(int(cases.survey("train")[0]))
    path = place / latent_file(name)
    whole, known = path.read_bytes(), read_latent(path)
    write_latent(path, replace(known, record=replace(known.record, voxels="0" * 32)))
    refused(f"its latent of {name} is of another scan; encode the data of this training")
    write_latent(path, replace(known, record=replace(known.record, low=-5.0)))
    refused(rf"{name} is of values in \[-5, .*trained in")
    path.write_bytes(whole[:-3] + b"abc")
    refused("is damaged")
    path.unlink()
    refused("cases/.*")
    write_manifest(place, [entry for entry in entries if entry.case_id != name])
    refused(rf"holds no latent of 1 training case \({name}\); vae3d encode adds them")
    (place / "latents.json").unlink()
    refused(r"holds no latents\.json; vae3d encode writes one")


def test_a_decoder_without_a_reach_needs_whole_volumes_or_a_choice() -> None:
    from vae3d.loading.encoded import halo_of

    model = tiny_model(norm="group", norm_groups=4)
    with pytest.raises(ConfigError, match=r"patching=none.*trainer\.halo=N"):
        halo_of(None, model, (8, 8, 8))
    assert halo_of(None, model, None) == (0, 0, 0)
    assert halo_of(3, model, (8, 8, 8)) == (3, 3, 3)
