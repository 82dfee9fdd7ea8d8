"""Lists of cases: what is understood, and what is refused by line and column."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from vae3d.data.config import CTConfig, RunData, ScansConfig
from vae3d.errors import DataError
from vae3d.lists.entries import Entry, read_list

ROWS = [("a.nii.gz", "train"), ("b.nii.gz", "train"), ("c.nii.gz", "val"), ("d.nii.gz", "test")]
RIGHT = [Path(name).name.removesuffix(".nii.gz") + ":" + split for name, split in ROWS]


def listed(folder: Path, content: str | bytes | Any, name: str = "", **given: Any) -> list[Entry]:
    """The entries of a list with this text, or with this value as JSON."""
    plain = isinstance(content, str | bytes)
    file = folder / (name or ("list.csv" if plain else "list.json"))
    text = content if plain else json.dumps(content)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_list(CTConfig(list=str(file), **given))


def brief(entries: list[Entry]) -> list[str]:
    return [f"{entry.case_id}:{entry.split}" for entry in entries]


def refusal(folder: Path, content: Any, **given: Any) -> str:
    with pytest.raises(DataError) as error:
        listed(folder, content, **given)
    assert "\n" not in str(error.value)
    return str(error.value)


def table(header: str, separator: str = ",", end: str = "\n") -> str:
    return header + end + "".join(f"{path}{separator}{split}{end}" for path, split in ROWS)


@pytest.mark.parametrize(
    "text",
    [
        table("path,split"), table("path, split", ", "), table("path ,split ", " , "),
        table("path,Split"), table("PATH,SPLIT"), table("image,subset"), table("File Name,fold"),
        table("filename,set"), table("scan_path,Partition"), table("volume,data_split"),
        table("path;split", ";"), table("path\tsplit", "\t"), table("path;split", " ; "),
        table("sep=;\npath;split", ";"), table("path,split", end="\r\n"),
        table("\n\npath,split", end="\n\n"), table('"path","split"'), table("path,split,,", ",")
        .replace("train\n", "train,,\n"), "\ufeff" + table("path,split"),
        table("path,split").replace("train", "Training").replace("val", "VALID")
        .replace("test", "testing"),
        table("path,split").replace("train", "tr").replace("val", "dev").replace("test", "TS"),
        table("path,split").replace("a.nii.gz", '"a.nii.gz"'),
    ],
)  # fmt: skip
def test_spellings_of_a_list(tmp_path: Path, text: str) -> None:
    assert brief(listed(tmp_path, text)) == RIGHT


@pytest.mark.parametrize(
    "content",
    [
        [{"path": path, "split": split} for path, split in ROWS],
        [{"Image": [path], "Subset": split.upper(), "_site": [1, 2]} for path, split in ROWS],
        {
            "training": [{"image": "a.nii.gz", "label": "x"}, {"image": "b.nii.gz", "label": "y"}],
            "validation": [{"image": "c.nii.gz"}],
            "test": ["d.nii.gz"],
            "name": "Spleen", "labels": {"0": "background"}, "numTraining": 2,
        },
        {"train": ["a.nii.gz", "b.nii.gz"], "val": ["c.nii.gz"], "testing": ["d.nii.gz"]},
    ],
)  # fmt: skip
def test_shapes_of_json(tmp_path: Path, content: Any) -> None:
    assert brief(listed(tmp_path, content)) == RIGHT
    # The suffix does not matter.
    assert brief(listed(tmp_path, json.dumps(content), name="list.txt")) == RIGHT


def test_a_list_of_paths_has_no_splits(tmp_path: Path) -> None:
    assert brief(listed(tmp_path, ["a.nii.gz", "x/b.nii"])) == ["a:None", "x/b:None"]
    assert brief(listed(tmp_path, "image\na.nii.gz\n")) == ["a:None"]
    blank = listed(tmp_path, "path,split\na.nii,\nb.nii,\n")
    assert [entry.split for entry in blank] == [None, None]


def test_training_cases_alone_state_no_split(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vae3d")
    assert brief(listed(tmp_path, {"training": [{"image": "a.nii"}]})) == ["a:None"]
    assert "lists training cases alone" in caplog.text
    stated = listed(tmp_path, {"training": [{"image": "a.nii"}], "validation": []})
    assert brief(stated) == ["a:train"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no cases", "path,split"]),
        ("path\n", ["no cases"]),
        ("a.nii.gz\nb.nii.gz\n", ["line 1", "no header", "path,split"]),
        ("a.nii.gz,train\nb.nii.gz,val\n", ["line 1", "no header"]),
        ("split,age\ntrain,3\n", ["line 1", "no column holds the paths", "'split', 'age'"]),
        ("path split\na.nii train\n", ["line 1", "unknown column 'path split'"]),
        ("path,splt\na.nii,train\n", ["line 1", "'splt', did you mean 'split'?"]),
        ("path,phase\na.nii,train\n", ["line 1", "unknown column 'phase'", "put _ before"]),
        ("path,site\na.nii,train\nb.nii,test\n", ["column 'site' holds splits"]),
        ("path,image\na.nii,b.nii\n", ["'path' and 'image' both hold the path"]),
        ("path,split,fold\na.nii,train,0\n", ["'split' and 'fold' both hold the split"]),
        ("path,fold\na.nii,0\nb.nii,1\n", ["column 'fold'", "number is a fold", "'_fold'"]),
        ("path,split,split\na.nii,train,val\n", ["line 1", "'split' is given twice"]),
        ("path,,split\na.nii,x,train\n", ["line 1", "column 2 has no name"]),
        ("path,split\na.nii,train,x\n", ["line 2", "has 3 cells where the header has 2"]),
        ("path,split\n\na.nii,train\n,val\n", ["line 4", "column 'path'", "got nothing"]),
        ("path,split\na.nii,train\nb.nii,holdout\n", ["line 3", "'split'", "got 'holdout'"]),
        ("path,split\na.nii,train\nb.nii,\n", ["line 3", "'split'", "got nothing"]),
        ("path,split\na.nii,train\nb.nii\n", ["line 3", "'split'", "got nothing"]),
        ("path,split\na.nii,train\n./a.nii,test\n", ["line 2 and line 3", "train and test"]),
        ("path\na.nii\nx/../a.nii\n", ["line 2 and line 3", "listed twice"]),
        ("path,id\na.nii,1\nb.nii,1\n", ["line 2 and line 3", "two cases are called '1'"]),
        ("path,patient\na.nii,1\nb.nii,\n", ["line 3", "column 'patient'", "got nothing"]),
        ('path,split\n"a.nii,train\n', ["line 2", "check the quotes"]),
        (b"\xff\xfep\x00", ["is not UTF-8 text"]),
        ("{", ["is not valid JSON"]),
        ("[" * 100_000, ["is not valid JSON"]),
        ('{"training": ["a.nii"], "training": []}', ["'training' is given twice"]),
    ],
)  # fmt: skip
def test_refusals_of_text(tmp_path: Path, text: str | bytes, words: list[str]) -> None:
    (tmp_path / "x").mkdir()
    message = refusal(tmp_path, text)
    assert message.startswith("data.list: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], ["no cases"]),
        ({}, ["no cases", "expected a list of objects"]),
        ([1], ["entry 1", "expected an object"]),
        ([{"path": "a.nii"}, {"path": None}], ["entry 2", "'path'", "got null"]),
        ([{"path": "a.nii", "split": ["x", "y"]}], ["entry 1", "'split'"]),
        ([{"path": "a.nii", "splits_": "train", "spliit": "x"}], ["did you mean 'split'?"]),
        ({"cases": ["a.nii"]}, ["unknown key 'cases'"]),
        ({"training": ["a.nii"], "holdout": ["b.nii"]}, ["unknown key 'holdout'"]),
        ({"training": [{"image": ["a.nii", "b.nii"]}]}, ["training[0]", "has 2 files"]),
        ({"training": [{"image": "a.nii", "fold": 0}]}, ["number is a fold", "'_fold'"]),
        ({"training": [{"image": "a.nii", "split": "val"}]}, ["states a split already"]),
        ({"training": ["a.nii"], "test": ["a.nii"]}, ["training[0] and test[0]", "twice"]),
    ],
)  # fmt: skip
def test_refusals_of_json(tmp_path: Path, content: Any, words: list[str]) -> None:
    message = refusal(tmp_path, content)
    for word in words:
        assert word in message


def test_one_file_under_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x")
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")
    message = refusal(tmp_path, "path,split\na.nii,train\nb.nii,test\n")
    assert "line 2 and line 3" in message
    assert "listed twice (train and test)" in message


def test_columns_that_are_left_out_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vae3d")
    text = ",path,Age,split,_fold\n0,a.nii,3,train,0\n1,b.nii,4,val,1\n"
    assert brief(listed(tmp_path, text)) == ["a:train", "b:val"]
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["'', 'Age', '_fold'"]


NNUNET = {"channel_names": {"0": "CT"}, "labels": {"background": 0}, "file_ending": ".nii.gz"}


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_nnunet(tmp_path: Path) -> None:
    make(tmp_path, "imagesTr/x_0000.nii.gz", "imagesTr/y_0000.nii.gz", "imagesTs/z_0000.nii.gz")
    right = ["imagesTr/x_0000:train", "imagesTr/y_0000:train", "imagesTs/z_0000:test"]
    assert brief(listed(tmp_path, NNUNET)) == right
    version_1 = {
        "modality": {"0": "CT"},
        "training": [{"image": f"./imagesTr/{n}.nii.gz", "label": "l"} for n in "xy"],
        "test": ["./imagesTs/z.nii.gz"],
    }
    assert brief(listed(tmp_path, version_1)) == right
    named = {**NNUNET, "dataset": {"x": {"images": ["imagesTr/x_0000.nii.gz"], "label": "l"}}}
    assert brief(listed(tmp_path, named)) == ["x:None"]


def test_several_channels_of_nnunet_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "imagesTr/x_0000.nii.gz", "imagesTr/x_0001.nii.gz")
    names = {"0": "T1w", "1": "FLAIR"}
    assert "2 channels (T1w, FLAIR)" in refusal(tmp_path, {**NNUNET, "channel_names": names})
    one = {"modality": {"0": "CT"}, "training": [{"image": "imagesTr/x.nii.gz"}]}
    assert "x_0000, imagesTr/x_0001" in refusal(tmp_path, one)
    assert "no *_0000.mha were found" in refusal(tmp_path, {**NNUNET, "file_ending": ".mha"})
    # A component of 4D files can be chosen.
    make(tmp_path, "imagesTr/4d.nii.gz")
    decathlon = {"modality": names, "training": [{"image": "imagesTr/4d.nii.gz"}]}
    assert brief(listed(tmp_path, decathlon, channel=1)) == ["imagesTr/4d:None"]


def test_paths_are_relative_to_the_root_or_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    text = "path,name\nx/a.nii,one\n../b.nii,two\n/far/c.nii,three\n"
    below = listed(tmp_path, text, name="lists/l.csv")
    assert [str(entry.path) for entry in below] == [
        str(tmp_path / "lists/x/a.nii"), str(tmp_path / "lists/../b.nii"), "/far/c.nii",
    ]  # fmt: skip
    assert [entry.key for entry in below] == ["x/a", "../b", "three"]
    rooted = listed(tmp_path, text, name="lists/l.csv", root="/far")
    assert [str(entry.path) for entry in rooted][0::2] == ["/far/x/a.nii", "/far/c.nii"]
    assert [entry.key for entry in rooted] == ["x/a", "../b", "c"]


def test_the_list_of_an_evaluation_leaves_the_root_of_the_run() -> None:
    trained = CTConfig(root="hu", list="run.csv", group="patient")

    def data(**given: Any) -> ScansConfig:
        chosen = RunData(**given).for_run(trained, {})
        assert isinstance(chosen, ScansConfig)
        return chosen

    def kept(**given: Any) -> tuple[str | None, ...]:
        chosen = data(**given)
        return chosen.root, chosen.list, chosen.group

    assert kept() == ("hu", "run.csv", "patient")
    assert kept(list="other.csv") == (None, "other.csv", "patient")
    assert kept(list="other.csv", root="b") == ("b", "other.csv", "patient")
    assert kept(root="b") == ("b", None, None)  # a folder has no columns
    assert kept(root="b", group="subject") == ("b", None, "subject")
