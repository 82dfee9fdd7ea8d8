"""Settings that differ from those of the weights are refused alike, or allowed by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.test_eval_cases import write_scan
from tests.conftest import tiny_model, vae3d
from vae3d import CustomVAE
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.commands.reconstruct import ReconstructConfig
from vae3d.commands.reconstruct_run import reconstruct
from vae3d.commands.train_run import train
from vae3d.data.config import (
    CTConfig,
    CustomConfig,
    DataConfig,
    PreparableData,
    RunData,
    StoreConfig,
    SyntheticConfig,
)
from vae3d.errors import ConfigError
from vae3d.evaluation.config import EvaluationConfig
from vae3d.latents.file import read_latent
from vae3d.latents.folder import latent_file
from vae3d.model.config import LevelSpec, VAEConfig
from vae3d.patching.config import WholeVolumeConfig
from vae3d.report.result import EvaluationResult
from vae3d.run.config import TrainConfig
from vae3d.trainer.config import TrainerConfig
from vae3d.values.agreement import DATA, Agreement
from vae3d.values.contract import InputContract
from vae3d.values.intensity import IntensityContract

WINDOW = (-200.0, 300.0)
QUIET = EvaluationConfig(metrics=["mae"], media=[], report=False, latents=False)


def trained(folder: Path, name: str, **data: Any) -> Path:
    values = {"root": str(folder / "scans"), "list": str(folder / "list.csv"), "store": None}
    return train(
        TrainConfig(
            name=name,
            runs_dir=str(folder),
            data=CTConfig(**{**values, **data}),
            model=VAEConfig(in_channels=1, latent_channels=2, levels=[LevelSpec(channels=4)]),
            patching=WholeVolumeConfig(),
            trainer=TrainerConfig(steps=1, batch_size=1, device="cpu"),
        )
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `scans`, `other` scans of the same names, and a run with another window."""
    folder = tmp_path_factory.mktemp("agreement")
    for number in range(4):
        write_scan(folder / f"scans/c{number}.nii.gz", number)
        write_scan(folder / f"other/c{number}.nii.gz", number + 50)
    splits = ("train", "train", "val", "test")
    rows = "".join(f"c{n}.nii.gz,{split}\n" for n, split in enumerate(splits))
    (folder / "list.csv").write_text("path,split\n" + rows)
    trained(folder, "run", window=WINDOW)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


def scored(run: Path, data: DataConfig, **given: Any) -> EvaluationResult:
    return evaluate(EvalConfig(run=str(run), data=data, device="cpu", evaluation=QUIET, **given))


def encoded(run: Path, data: DataConfig, **given: Any) -> Path:
    output = str(run.parent / f"latents{len([*run.parent.iterdir()])}")
    return encode(EncodeConfig(run=str(run), data=data, device="cpu", output=output, **given))


def folder_of(made: Path, **given: Any) -> CTConfig:
    return CTConfig(root=str(made / "scans"), store=None, **given)


@pytest.mark.parametrize("command", [scored, encoded])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"window": (-300.0, 300.0)}, r"data\.window=\[-200, 300\] HU; these .* \[-300, 300\]"),
        ({"spacing": 3}, r"data\.spacing=null \(the scans' own\); these settings say \[3, 3, 3\]"),
        (
            {"window": (0.0, 9.0), "spacing": 3},
            r"spacing=null .* and data\.window=.* say \[3, 3, 3\] and \[0, 9\];",
        ),
    ],
)
def test_what_differs_is_refused_alike(
    run: Path, made: Path, command: Any, given: dict[str, Any], expected: str
) -> None:
    for data in (folder_of(made, **given), RunData(**given)):
        with pytest.raises(ConfigError, match=f"{expected}.*add allow=") as refused:
            command(run, data)
        assert f"the weights of {run} were trained with" in str(refused.value)


def test_the_window_of_the_weights_is_used_where_none_is_given(run: Path, made: Path) -> None:
    """The default of `data=ct` is no wish of the user."""
    for data in (folder_of(made), RunData(), folder_of(made, window=WINDOW)):
        result = scored(run, data)
        assert [(case.low, case.high) for case in result.cases] == [WINDOW]


@pytest.mark.parametrize("kind", [CTConfig, RunData])
def test_what_is_allowed_is_used_and_stated(run: Path, made: Path, kind: Any) -> None:
    wide = (-300.0, 300.0)
    data = kind(root=str(made / "scans"), window=wide)
    result = scored(run, data, allow=["window"], split="all")
    assert {(case.low, case.high) for case in result.cases} == {wide}
    note = "data.window=[-300, 300] was used; the weights were trained with [-200, 300] HU"
    assert result.warnings[0] == note
    latents = encoded(run, data, allow=["window"])
    record = read_latent(latents / latent_file("c1")).record
    assert (record.low, record.high) == wide


def test_allowed_spacing_resamples(run: Path, made: Path) -> None:
    latents = encoded(run, folder_of(made, spacing=2), allow=["spacing"])
    assert read_latent(latents / latent_file("c0")).record.shape == [4, 4, 4]
    with pytest.raises(ConfigError, match=r"data\.window="):
        encoded(run, folder_of(made, spacing=2, window=(0.0, 1.0)), allow=["spacing"])


def test_a_typed_default_is_a_wish_too(run: Path, made: Path) -> None:
    words = ["eval", f"run={run}", "data=ct", f"data.root={made / 'scans'}", "output=x"]
    done = vae3d(*words, "data.window=[-1000,1000]", cwd=run.parent)
    assert done.returncode == 2
    assert "trained with data.window=[-200, 300] HU; these settings say [-1000, 1000]" in (
        done.stderr
    )
    assert not (run.parent / "x").exists()


def test_typed_settings_without_effect_are_named(run: Path) -> None:
    words = ["eval", f"run={run}", "evaluation=scores", "evaluation.inference.memory=2"]
    done = vae3d(*words, "evaluation.inference.overlap=0.5", cwd=run.parent)
    assert done.returncode == 0, done.stderr
    assert "evaluation.inference.overlap has an effect with mode=patch only" in done.stderr
    assert "inference.memory has" not in done.stderr
    patched = vae3d(*words, "evaluation.inference.overlap=0.5", "mode=patch", cwd=run.parent)
    assert "has an effect" not in patched.stderr


def test_data_of_another_grid_are_refused_alike(made: Path, tmp_path: Path) -> None:
    """A store and phantoms are not resampled: eval and encode check what they hold."""
    wide = trained(made, "wide", spacing=2)
    scored(made / "run", RunData(store=str(tmp_path / "store")), output=str(tmp_path / "o"))
    for data in (StoreConfig(root=str(tmp_path / "store")), SyntheticConfig(shape=8, count=2)):
        for command in (scored, encoded):
            with pytest.raises(ConfigError, match=r"these data have null; choose other data, or"):
                command(wide, data)
    encoded(wide, StoreConfig(root=str(tmp_path / "store")), allow=["spacing"])


@pytest.mark.parametrize("channel", [0, 1])
def test_the_channel_belongs_to_the_weights(channel: int, tmp_path: Path) -> None:
    import nibabel

    (tmp_path / "scans").mkdir()
    for number in range(4):
        array = np.random.default_rng(number).integers(-900, 900, (8, 8, 8, 2)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"scans/c{number}.nii")
    run = trained(tmp_path, "run", list=None, channel=channel, val_fraction=0, test_fraction=0)
    other = 1 - channel
    scans = str(tmp_path / "scans")
    expected = rf"channel={channel}; these settings say {other}; drop"
    for data in (CTConfig(root=scans, channel=other), RunData(channel=other)):
        for command in (scored, encoded):
            with pytest.raises(ConfigError, match=expected):
                command(run, data)
    there = ReconstructConfig(run=str(run), input=scans, device="cpu", channel=other)
    with pytest.raises(ConfigError, match=f"trained with {expected} channel,"):
        reconstruct(there)
    latents = encoded(run, RunData())
    with pytest.raises(ConfigError, match="holds latents of other channel; name another output"):
        encode(
            EncodeConfig(
                run=str(run),
                data=RunData(channel=other),
                device="cpu",
                output=str(latents),
                allow=["channel"],
            )
        )
    settings = json.loads((latents / "latents.json").read_text())
    del settings["channel"]  # as earlier versions wrote it
    (latents / "latents.json").write_text(json.dumps(settings))
    encode(EncodeConfig(run=str(run), device="cpu", output=str(latents)))
    there.allow = ["channel"]
    assert len([*reconstruct(there).glob("*.nii.gz")]) == 4


def test_other_data_have_a_report_of_their_own(run: Path, made: Path, tmp_path: Path) -> None:
    scored(run, RunData())
    own = (run / "report/full/scores.csv").read_bytes()
    same = shutil.copytree(made / "scans", tmp_path / "moved")
    shutil.copytree(made / "other", tmp_path / "others")
    calls: list[tuple[DataConfig, dict[str, Any]]] = [
        (RunData(root=str(made / "other")), {"split": "test"}),
        (folder_of(made, window=(-300.0, 300.0)), {"allow": ["window"]}),
        (CTConfig(root=str(tmp_path / "others"), store=None), {"split": "all"}),
    ]
    for number, (data, given) in enumerate(calls, start=2):
        scored(run, data, **given)
        assert (run / "report/full/scores.csv").read_bytes() == own
        assert len([*(run / "report").glob("full-*-*")]) == number - 1
    for data in (folder_of(made), RunData(root=f"{made / 'scans'}/"), RunData(root=str(same))):
        scored(run, data, split="train")
    assert len([*(run / "report").glob("full-*")]) == len(calls)
    assert {p.name.split("-")[1] for p in (run / "report").glob("full-*")} == {
        "other", "scans", "others",
    }  # fmt: skip


def test_weights_alone_are_evaluated(made: Path, run: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(run / "weights/latest", tmp_path / "alone"))
    with pytest.raises(ConfigError, match=r"holds weights without a run.*data=ct data\.root="):
        scored(alone, RunData())
    result = scored(alone, folder_of(made))
    assert len(result.cases) == 4
    unknown = "nothing is known about the cases that these weights were trained on"
    assert result.warnings == [unknown]
    [report] = alone.glob("report/full-scans-*")
    assert json.loads((report / "summary.json").read_text())["warnings"] == [unknown]
    with pytest.raises(ConfigError, match="names weights already; drop weights=best"):
        scored(alone, folder_of(made), weights="best")
    scored(alone, folder_of(made), mode="patch")


def test_weights_inside_of_a_run_are_those_of_the_run(run: Path) -> None:
    best = scored(run / "weights/best", RunData())
    assert [case.case_id for case in best.cases] == ["c3"]
    assert best.warnings == []
    assert (run / "report/full/scores.csv").exists()
    with pytest.raises(ConfigError, match="drop weights=latest"):
        scored(run / "weights/best", RunData(), weights="latest")


def test_other_data_get_a_store_of_their_own(made: Path, tmp_path: Path) -> None:
    """The store of the training is neither used nor touched, however the path is written."""
    given = {"root": str(made / "scans"), "store": str(tmp_path / "store")}
    own = CTConfig(**given)

    def store(**given: Any) -> str | None:
        data = RunData(**given).for_run(own, {})
        assert isinstance(data, PreparableData)
        return data.store

    assert store() == store(root=f"{made / 'scans'}/") == str(tmp_path / "store")
    assert store(root=str(made / "other")) == store(channel=1) == store(spacing=2) == "auto"
    assert store(list="other.csv") == store(nonfinite="fill") == "auto"
    assert store(root=str(made / "other"), store="mine") == "mine"
    run = trained(made, "stored", store=str(tmp_path / "store"))
    before = sorted(path.name for path in (tmp_path / "store").rglob("*"))
    scored(run, RunData(root=str(made / "other")), output=str(tmp_path / "scores"))
    assert sorted(path.name for path in (tmp_path / "store").rglob("*")) == before
    assert len([*Path("stores").iterdir()]) == 1


def agreement(allow: tuple[str, ...] = ()) -> Agreement:
    intensity = IntensityContract("window", -200, 300, "HU")
    return Agreement("w", InputContract(intensity, (2.0, 1.0, 1.0), 1), 3, allow)


def test_what_is_no_difference() -> None:
    own = agreement()
    same = {"window": [-200, 300], "spacing": (2, 1, 1), "channel": 1, "percentiles": (0, 1)}
    assert own.on(same) == own.contract
    assert own.on({"window": None, "channel": None}) == own.contract
    assert own.notes == []


def test_the_message_names_the_keys_of_the_command() -> None:
    with pytest.raises(ConfigError) as refused:
        agreement(("channel",)).on({"window": (0, 1)}, {"window": "range"})
    assert str(refused.value) == (
        "the weights of w were trained with range=[-200, 300] HU; these settings say [0, 1]; "
        "drop range, or add allow=[channel,window] to use [0, 1]"
    )
    with pytest.raises(ConfigError, match=r"these data have null; choose other data, or add"):
        agreement().on({"spacing": None}, of=DATA)


def test_given_values_are_typed_ones_and_those_that_are_no_default() -> None:
    data = CTConfig(spacing=2)
    assert data.given() == {"spacing": (2.0, 2.0, 2.0)}
    data.typed = frozenset({"window"})
    assert data.given() == {"spacing": (2.0, 2.0, 2.0), "window": (-1000.0, 1000.0)}
    assert RunData().given() == {}
    assert CustomConfig(window=(0.0, 1.0)).given() == {"window": (0.0, 1.0)}


def test_images_of_one_channel_do_not_fit_weights_of_two(tmp_path: Path, made: Path) -> None:
    model = CustomVAE(tiny_model(in_channels=2))
    model.contract = InputContract(IntensityContract("window", -1000, 1000, "HU"))
    model.save_pretrained(tmp_path / "w")
    for command in (scored, encoded):
        with pytest.raises(ConfigError, match="take images of 2 channels, these data have 1"):
            command(tmp_path / "w", folder_of(made))
    with pytest.raises(ConfigError, match="take images of 2 channels"):
        reconstruct(
            ReconstructConfig(run=str(tmp_path / "w"), input=str(made / "scans"), device="cpu")
        )
