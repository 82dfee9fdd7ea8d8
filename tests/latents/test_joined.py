"""Latents of several folders, and with labels."""

import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from tests.latents.folders import OWN, write_folder
from vae3d import LatentDataset
from vae3d.errors import ConfigError, DataError, UserError
from vae3d.latents.folder import read_manifest, write_manifest


def test_several_folders_are_one_folder_with_all_of_them(tmp_path: Path) -> None:
    whole = write_folder(tmp_path / "whole", {name: n for n, name in enumerate("abcdef")})
    parts = [
        write_folder(tmp_path / "one", {"a": 0, "d": 3, "e": 4}),
        write_folder(tmp_path / "two", {"b": 1, "c": 2, "f": 5}),
    ]
    for options in ({}, {"split": "val"}, {"size": 2, "seed": 3}, {"sample": False}):
        one = LatentDataset(whole, **options)  # type: ignore[arg-type]
        for order in (parts, parts[::-1]):
            joined = LatentDataset(order, **options)  # type: ignore[arg-type]
            assert [e.case_id for e in joined.entries] == [e.case_id for e in one.entries]
            assert len(joined) == len(one)
            for place in range(len(one)):
                assert joined[place]["case_id"] == one[place]["case_id"]
                assert torch.equal(joined[place]["latent"], one[place]["latent"])


def test_folders_of_other_encoders_are_refused_by_name(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", {"a": 0}, weights="1" * 64)
    other = write_folder(tmp_path / "other", {"b": 1}, weights="2" * 64)
    message = r"one of 11111111, .*other of 22222222; encode the scans with one run"
    with pytest.raises(ConfigError, match=message):
        LatentDataset([one, other])
    # Manifests of earlier versions do not name the encoder: the latents do.
    for folder in (one, other):
        manifest = folder / "manifest.csv"
        manifest.write_text(manifest.read_text().replace("1" * 64, "").replace("2" * 64, ""))
    with pytest.raises(ConfigError, match=message):
        LatentDataset([one, other])


def test_a_decoder_that_was_trained_further_makes_no_other_encoder(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", {"a": 0}, weights="1" * 64, encoder="e" * 64)
    tuned = write_folder(tmp_path / "tuned", {"b": 1}, weights="2" * 64, encoder="e" * 64)
    assert len(LatentDataset([one, tuned])) == 2
    other = write_folder(tmp_path / "other", {"c": 2}, weights="1" * 63 + "3", encoder="f" * 64)
    with pytest.raises(ConfigError, match=r"one of eeeeeeee, .*other of ffffffff"):
        LatentDataset([one, other])


def test_a_folder_of_two_encoders_is_refused(tmp_path: Path) -> None:
    """A manifest may list latents of several weights, if their encoder is one."""
    one = write_folder(tmp_path / "one", {"a": 0}, weights="1" * 64, encoder="e" * 64)
    for encoder in ("e", "f"):
        place = tmp_path / encoder
        parts = [
            write_folder(tmp_path / f"{encoder}{n}", {name: n}, weights=str(n) * 64, encoder=own)
            for n, name, own in ((1, "b", "e" * 64), (2, "c", encoder * 64))
        ]
        for part in reversed(parts):
            shutil.copytree(part, place, dirs_exist_ok=True)
        write_manifest(place, [entry for part in parts for entry in read_manifest(part)])
        if encoder == "e":
            assert len(LatentDataset([one, place])) == 3
        else:
            with pytest.raises(ConfigError, match=f"{place}: holds latents of several encoders"):
                LatentDataset([one, place])


def test_other_statistics_are_refused_unless_nothing_is_normalised(tmp_path: Path) -> None:
    folders = [write_folder(tmp_path / n, {n: k}, own=None) for k, n in enumerate("ab")]
    with pytest.raises(ConfigError, match=r"different statistics.*normalise=None"):
        LatentDataset(folders)
    assert len(LatentDataset(folders, normalise=None)) == 2
    assert LatentDataset(folders[0]).statistics.cases == 1
    same = [write_folder(tmp_path / n / n, {n: k}) for k, n in enumerate("ab")]
    assert LatentDataset(same).statistics.latents_std == OWN.latents_std


def test_namesakes_of_other_scans_are_told_apart(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", {"a": 0, "b": 1})
    two = write_folder(tmp_path / "two", {"a": 2, "c": 3})
    joined = LatentDataset([one, two], sample=False, normalise=None)
    assert [e.case_id for e in joined.entries] == ["b", "c", "one/a", "two/a"]
    alone = LatentDataset(two, sample=False, normalise=None)
    assert torch.equal(joined[3]["latent"], alone[0]["latent"])
    labels = tmp_path / "labels.csv"
    labels.write_text("case_id,grade\none/a,1\ntwo/a,2\nb,3\nc,4\n")
    labelled = LatentDataset([one, two], labels=labels)
    assert [item["label"] for item in labelled] == [3, 4, 1, 2]  # type: ignore[attr-defined]


def test_the_same_scan_twice_is_refused_by_name(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", {"a": 0})
    for other, message in (
        (write_folder(tmp_path / "two", {"a": 0}), r"case 'a' is the same scan in .*one and"),
        (write_folder(tmp_path / "x" / "one", {"a": 7}), "rename a folder"),
    ):
        with pytest.raises(DataError, match=message):
            LatentDataset([one, other])
    with pytest.raises(ConfigError, match="is named twice"):
        LatentDataset([one, tmp_path / "two" / ".." / "one"])
    with pytest.raises(ConfigError, match="must name a folder"):
        LatentDataset([])


def test_labels_are_joined_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_folder(tmp_path / "latents", {name: n for n, name in enumerate("abcdef")})
    labels = tmp_path / "labels.csv"
    labels.write_text("Case ID;age;sex\nf;60,5;m\nx;1;f\na;30;f\nc;;m\nb.nii.gz;2;f\nd;7.5;f\n")
    with caplog.at_level(logging.WARNING):
        dataset = LatentDataset(folder, labels=labels, label="sex", sample=False)
    assert [e.case_id for e in dataset.entries] == ["a", "c", "d", "f"]
    assert dataset.classes == ["f", "m"]
    batch = next(iter(DataLoader(dataset, batch_size=4)))
    assert batch["label"].tolist() == [0, 1, 0, 1]
    assert batch["case_id"] == ["a", "c", "d", "f"]
    assert batch["latent"].shape == (4, 3, 3, 4, 3)
    assert "2 of 6 cases have no 'sex'" in caplog.text
    assert "'b', 'e'" in caplog.text
    assert "2 rows of" in caplog.text
    assert "write 'b' for 'b.nii.gz'" in caplog.text
    labels.write_text("case,age\na,30\nd,7.5\nb,\n")
    numbers = LatentDataset(folder, labels=labels)
    assert numbers.classes == []
    loaded = next(iter(DataLoader(numbers, batch_size=2)))["label"]
    assert loaded.dtype == torch.float64
    assert loaded.tolist() == [30, 7.5]
    whole = tmp_path / "whole.csv"
    whole.write_text("case,grade\na,3\nd,1\n")
    grades = next(iter(DataLoader(LatentDataset(folder, labels=whole), batch_size=2)))["label"]
    assert grades.dtype == torch.int64


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        ("case_id,age\na,1\na,2\n", None, r"line 3: case 'a' is listed twice, first in line 2"),
        ("case_id,age,sex\na,1,f\n", None, "set label= to one of age, sex"),
        ("case_id,age,sex\na,1,f\n", "grade", "no such column, choose from case_id, age, sex"),
        ("case_id,patient\na,p1\n", None, "it has no other column"),
        ("age,sex\n1,f\n", None, "no column names the cases; expected one called case_id"),
        ("name,id,age\na,a,1\n", "age", "both name the cases"),
        ("case_id,age\nx,1\ny,2\n", None, "no case has a label; the file names 'x', 'y'"),
        ("case_id,age\na,\n", None, "no case has a label"),
        ("case_id,age\n,3\n", None, "line 2: has no case"),
        ("case_id,age\na,3,4\n", None, "line 2: has 3 cells"),
        ("", None, "no cases in"),
        ("case_id,age\na,3\n", "case_id", "is the column of the cases"),
    ],
)
def test_labels_that_are_refused(
    tmp_path: Path, text: str, label: str | None, message: str
) -> None:
    folder = write_folder(tmp_path / "latents", {"a": 0})
    labels = tmp_path / "labels.csv"
    labels.write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        LatentDataset(folder, labels=labels, label=label)
    assert "\n" not in str(raised.value)
    assert "data.list" not in str(raised.value)


def test_labels_must_be_a_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "latents", {"a": 0})
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(DataError, match=r"labels: .* cannot be read"):
            LatentDataset(folder, labels=path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"case_id,a\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        LatentDataset(folder, labels=binary)
    with pytest.raises(ConfigError, match="label=age needs labels="):
        LatentDataset(folder, label="age")


def test_the_code_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/encode-latents.md").read_text()
    code = "\n".join(re.findall(r"^```python$(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    # The latents here are smaller than those of the page.
    code = code.replace("(16, 16, 16)", "2").replace("(8, 8, 8)", "(2, 3, 2)")
    write_folder(tmp_path / "latents", {"a": 1, "b": 2})
    write_folder(tmp_path / "other", {"b": 4, "c": 5})
    labels = "case_id,sex,age\na,f,1\nc,m,2\nother/b,m,3\nlatents/b,f,4\n"
    (tmp_path / "labels.csv").write_text(labels)
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["train"].size == (2, 2, 2)
    assert found["both"].classes == ["f", "m"]
    assert found["batch"]["latent"].shape == (2, 3, 2, 3, 2)
    assert {*found["batch"]["label"].tolist()} <= {0, 1}
