"""Whatever a case is called, its files stay in their folder, and no two cases share one."""

import csv
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import tiny_model
from vae3d.autoencoder.vae import CustomVAE
from vae3d.data.config import SourceData
from vae3d.data.loaded import LoadedCases
from vae3d.evaluation.config import EvaluationConfig
from vae3d.evaluation.evaluator import Evaluator
from vae3d.files.atomic import write_json, write_text
from vae3d.inference.config import InferenceConfig
from vae3d.inference.runner import build_runner
from vae3d.logger.base import Logger
from vae3d.pictures.media import write_gif, write_mp4, write_png
from vae3d.runtime.distributed import Distributed
from vae3d.runtime.precision import Precision
from vae3d.scans.files import write_volume
from vae3d.scans.source import CaseSource
from vae3d.scans.volume import Volume
from vae3d.values.intensity import IntensityContract
from vae3d.values.naming import MAX_STEM_BYTES, file_stem

CPU = torch.device("cpu")

NAMES = [
    *("../../x", "..", ".", "...", "/abs", "/etc/passwd", "a/../../b", "a/b", "a__b", "a_/_b"),
    *("a\\b", "..\\x", "C:x", "CON", "con.1", "-rf", "--output", "~", "~root", "$HOME", "%d"),
    *("a\nb", "a\rb", "a\0b", "\x1b[31m", " a", "a ", "a.", ".hidden", "a*", "a?", "'", '"', ""),
    *(
        "x" * 300,
        "x" * 301,
        "é" * 200,
        "患者/頭部",
        "e\u0301",
        "\u202egnp.exe",
        "a`id`",
        ";id",
        "|id",
    ),
]


class NamedImages(CaseSource):
    """Noise under names of one's choice."""

    def __init__(self, names: list[str], shape: tuple[int, ...] = (8, 8)) -> None:
        contract = IntensityContract("window", 0, 1, unit="a.u.")
        super().__init__(len(shape), contract, names, [None] * len(names))
        self.shape = shape

    def read(self, index: int) -> Volume:
        data = torch.rand(1, *self.shape, generator=torch.Generator().manual_seed(index))
        return Volume(data, np.eye(len(self.shape) + 1), self.case_ids[index])


class Names(Logger):
    """Remembers what pictures and videos are called."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def log_image(self, step: int, name: str, image: Any) -> None:
        self.names.append(name)

    def log_video(self, step: int, name: str, path: Path) -> None:
        self.names.append(name)


OF_A_REPORT = {"scores.csv", "summary.json", "checksums.json", "spectra.csv", "spectra.png"}
"""Files of a report besides those of its cases."""


def evaluated(source: CaseSource, folder: Path, media: list[str]) -> Names:
    """Everything that an evaluation writes of these cases."""
    model = CustomVAE(tiny_model(source.spatial_dims)).eval()
    precision = Precision("fp32", torch.device("cpu"))
    reconstructor = build_runner(InferenceConfig(), "full", model, CPU, precision)
    config = EvaluationConfig(media=media, media_cases=None, save_reconstructions=True)
    cases = LoadedCases(source, SourceData())
    logger = Names()
    indices = [*range(len(source.case_ids))]
    result = Evaluator(reconstructor, cases, config, Distributed()).evaluate(
        indices, folder, logger
    )
    result.write(folder)
    return logger


def test_every_case_has_files_of_its_own_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "down" / "report"
    logger = evaluated(NamedImages(NAMES), folder, ["png"])
    files = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    below = {"cases": ".png", "reconstructions": ".tiff"}
    for name, suffix in below.items():
        found = [path for path in files if path.parent == folder / name]
        assert {path.suffix for path in found} == {suffix}
        assert len({path.name.casefold() for path in found}) == len(NAMES)
    own = {path.name for path in files if path.parent == folder}
    assert own == OF_A_REPORT
    assert len(files) == 2 * len(NAMES) + len(own), "nothing lies anywhere else"
    assert all(path.resolve() == path for path in files)
    assert len({*logger.names}) == len(NAMES)
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if not row[0].startswith("#")]
    assert [row[0] for row in rows[1:]] == NAMES


def test_so_have_volumes(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "report"
    evaluated(NamedImages(["../../x\n"], (8, 8, 8)), folder, ["png", "gif", "mp4"])
    stem = file_stem("../../x\n")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == {
        *(f"cases/{stem}.{suffix}" for suffix in ("png", "gif", "mp4")),
        f"reconstructions/{stem}.nii.gz",
        *OF_A_REPORT,
    }
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


def test_names_are_one_to_one() -> None:
    short = ["".join(t) for n in range(6) for t in itertools.product("a_/.~\\-", repeat=n)]
    stems = {file_stem(name) for name in short}
    assert len(stems) == len(short)
    hashed = file_stem("a\nb")
    assert file_stem(hashed) != hashed, "nobody is called like what another one is named"


@pytest.mark.parametrize("name", [*NAMES, "\udcff", "a\udcffb"], ids=repr)
def test_a_name_is_a_file_name_everywhere(name: str) -> None:
    stem = file_stem(name)
    assert stem.isprintable()
    assert len(stem.encode()) <= MAX_STEM_BYTES
    assert not set(stem) & set('/\\:*?"<>|`$;&\n')
    assert stem[0] not in ".-~ "
    assert stem[-1] not in ". "


def test_ordinary_names_stay_as_they_are() -> None:
    for name in (
        "case_01",
        "sub-01_ses-02_T1w",
        "BraTS2021_00001",
        "LIDC 0001 (a)",
        "Müller",
        "1.2.840",
    ):
        assert file_stem(name) == name
    assert file_stem("sub-01/anat/T1w") == "sub-01__anat__T1w"


VOLUME = Volume(torch.rand(1, 4, 4, 4), np.eye(4)[[2, 1, 0, 3]], "case")
PICTURE = np.zeros((16, 16, 3), np.uint8)
WRITERS: dict[str, Callable[[Path], None]] = {
    "a.nii.gz": lambda path: write_volume(VOLUME, path),
    "a.nii": lambda path: write_volume(VOLUME, path),
    "a.npy": lambda path: write_volume(VOLUME, path),
    "a.tiff": lambda path: write_volume(replace(VOLUME, data=VOLUME.data[:, 0]), path),
    "b.png": lambda path: write_png(path, PICTURE),
    "a.gif": lambda path: write_gif(path, [PICTURE, PICTURE]),
    "a.mp4": lambda path: write_mp4(path, [PICTURE, PICTURE]),
    "a.json": lambda path: write_json(path, {"a": 1}),
    "a.txt": lambda path: write_text(path, "a"),
}


@pytest.mark.parametrize("link", ["symbolic", "hard", "dangling"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_link_where_a_file_is_written_is_not_followed(
    name: str, link: str, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    if link == "hard":
        os.link(victim, folder / name)
    else:
        target = victim if link == "symbolic" else tmp_path / "nowhere"
        (folder / name).symlink_to(target)
    WRITERS[name](folder / name)
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    assert not (folder / name).is_symlink()
    assert (folder / name).stat().st_nlink == 1
    assert [path.name for path in folder.iterdir()] == [name]


def test_saved_weights_replace_a_link_too(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "thesis.txt").write_text("mine")
    (tmp_path / "weights").symlink_to(elsewhere)
    CustomVAE(tiny_model()).save_pretrained(tmp_path / "weights")
    assert [path.name for path in elsewhere.iterdir()] == ["thesis.txt"]
    CustomVAE.from_pretrained(tmp_path / "weights")
