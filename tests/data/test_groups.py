"""Groups of cases, which keep a patient in one split."""

import logging
from pathlib import Path

import pytest

from vae3d.data.build import build_source
from vae3d.data.config import CTConfig, SyntheticConfig
from vae3d.errors import ConfigError, DataError
from vae3d.lists.groups import patient_hint


def groups(root: Path, *names: str, group: str | None = None) -> list[str]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return build_source(CTConfig(root=str(root), group=group)).groups


def test_each_case_is_a_group_of_its_own(tmp_path: Path) -> None:
    assert groups(tmp_path, "x/a.nii.gz", "x/b.nii", "x/b.npy") == ["x/a", "x/b.nii", "x/b.npy"]
    assert build_source(SyntheticConfig(count=2)).groups == ["phantom_0000", "phantom_0001"]
    assert build_source(CTConfig(root=str(tmp_path / "x/b.nii"))).groups == ["b"]


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("subject", ["sub-01", "sub-01", "sub-A2"]),
        (r"(sub-\w\w)", ["sub-01", "sub-01", "sub-A2"]),
        (r"^([^/]+)/", ["one", "one", "two"]),
        (r"^(?:one|two)/.*_(T\d)", ["T1", "T2", "T1"]),
    ],
)
def test_a_rule_on_the_path(tmp_path: Path, group: str, expected: list[str]) -> None:
    names = ("one/sub-01_T1w.nii", "one/sub-01_T2w.nii", "two/sub-A2_T1w.nii")
    assert groups(tmp_path, *names, group=group) == expected


def test_rules_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for group, message in (
        ("subject", "does not fit 1 of 2 cases, such as b;"),
        (r"^(sub-\d)", "does not fit 1 of 2 cases"),
        (r"^(\d*)", "does not fit 2 of 2 cases"),
        ("patient", "only a list has columns"),
    ):
        with pytest.raises(DataError, match=message):
            groups(tmp_path, "sub-1.nii", "b.nii", group=group)
    for group, message in (
        ("^(a", "not a valid regular expression"),
        ("^a/", "one group in parentheses.* got 0"),
        ("(a)(b)", "one group in parentheses.* got 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            CTConfig(group=group)


def source_groups(folder: Path, text: str, group: str | None = None) -> list[str]:
    (folder / "list.csv").write_text(text)
    return build_source(CTConfig(list=str(folder / "list.csv"), group=group)).groups


@pytest.mark.parametrize(
    ("column", "group"),
    [
        ("group", None), ("Patient ID", None), ("subject", None), ("subject", "subject"),
        ("patient", "patient"), ("age", "age"), ("Ward", "ward"), ("_ward", "_ward"),
    ],
)  # fmt: skip
def test_a_column_of_groups(tmp_path: Path, column: str, group: str | None) -> None:
    rows = f"path,{column}\nx/a.nii,7\nx/b.nii,7\ny.nii,8\n"
    assert source_groups(tmp_path, rows, group) == ["7", "7", "8"]


def test_a_chosen_rule_replaces_the_column(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vae3d")
    rows = "path,patient,subject\nx/a.nii,7,1\nx/b.nii,8,2\n"
    with pytest.raises(DataError, match="'patient' and 'subject' both hold the group"):
        source_groups(tmp_path, rows)
    assert source_groups(tmp_path, rows, "^([^/]+)/") == ["x", "x"]
    assert source_groups(tmp_path, rows, "patient") == ["7", "8"]
    assert [message.rpartition(": ")[2] for message in caplog.messages] == [
        "'patient', 'subject'", "'subject'",
    ]  # fmt: skip
    with pytest.raises(DataError, match="has no such column, choose from path, patient, subject"):
        source_groups(tmp_path, rows, "ward")


@pytest.mark.parametrize("group", [None, "patient", "^(p1)", "subject"])
def test_a_patient_in_two_splits_is_refused(tmp_path: Path, group: str | None) -> None:
    column = ",patient" if group in (None, "patient") else ""
    cell = ",7" if column else ""
    name = "sub-1" if group == "subject" else "p1"
    head = f"path,split{column}\n{name}_t1.nii,train{cell}\n"
    with pytest.raises(DataError, match=r"line 2 and line 3: .* is in train and in test"):
        source_groups(tmp_path, f"{head}{name}_t2.nii,test{cell}\n", group)
    assert len(source_groups(tmp_path, f"{head}{name}_t2.nii,train{cell}\n", group)) == 2


BY_NAME = "'data.group=^(.+)_[^_/]+$'"
BY_FOLDER = "'data.group=^([^/]+)/'"


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        ("sub-01_T1w sub-01_T2w sub-02_T1w", "data.group=subject"),
        ("sub-01/ses-1/anat/x sub-01/ses-2/anat/x", "data.group=subject"),
        ("p1_t1 p1_t2 p2_t1", BY_NAME),
        ("p1_FLAIR p1_t1ce", BY_NAME),
        ("p1_0000 p1_0001 p2_0000 p2_0001", BY_NAME),
        ("p1_visit1 p1_visit2 p2_visit1 p2_visit2", BY_NAME),
        ("p1_20200101 p1_20210101 p2_20200101 p2_20200202", BY_NAME),
        ("a/p1_slice001 a/p1_slice002 a/p2_slice001 a/p2_slice002", BY_NAME),
        ("p1_ses1_t1 p1_ses2_t1 p2_ses1_t1", "'data.group=^(.+)_[^_/]+_[^_/]+$'"),
        ("p1_t1 p1_visit2_t1", "data.group=PATTERN"),
        ("p1/a p1/b p2/a p2/b", BY_FOLDER),
        ("p1/v1/a p1/v2/a p2/v1/a p2/v2/a", BY_FOLDER),
        ("train/p1/a train/p1/b test/p2/a test/p2/b", "'data.group=^([^/]+/[^/]+)/'"),
        (" ".join(f"p{i}/{j}" for i in range(30) for j in range(99)), BY_FOLDER),
    ],
)  # fmt: skip
def test_names_that_suggest_patients(keys: str, advice: str) -> None:
    names = keys.split()
    hint = patient_hint(names, [None] * len(names))
    assert hint is not None
    assert f"; set {advice} to keep" in hint


@pytest.mark.parametrize(
    "keys",
    [
        "", "a", "a b c", "sub-01_T1w sub-02_T1w",
        "case_0000 case_0001 case_0002", "STS_001_CT_image STS_002_CT_image",
        "slice_001 slice_002", "p1_t1 p2_t1", "p1/t1 p2/t1", "x/a x/b x/c",
        "train/a train/b test/a test/b", "imagesTr/a imagesTr/b imagesTs/a imagesTs/b",
        " ".join(f"{kind}CT/{i:06}" for kind in ("Chest", "Head") for i in range(300)),
    ],
)  # fmt: skip
def test_names_that_suggest_no_patients(keys: str) -> None:
    names = keys.split()
    assert patient_hint(names, [None] * len(names)) is None


def test_patients_of_a_list_count_in_two_splits_only() -> None:
    names = ["p1_t1", "p1_t2", "p2_t1"]
    assert patient_hint(names, ["train", "train", "test"]) is None
    assert "in different splits" in str(patient_hint(names, ["train", "test", "test"]))


def test_the_hint_is_one_line_of_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vae3d")
    names = ("p1_t1.nii", "p1_t2.nii", "p2_t1.nii")
    groups(tmp_path, *names)
    (message,) = caplog.messages
    assert message.startswith(
        "1 patient has several scans by their names (such as p1_t1 and p1_t2"
    )
    caplog.clear()
    groups(tmp_path, *names, group="^(p.)")
    source_groups(tmp_path, "path,patient\np1_t1.nii,1\np1_t2.nii,1\n")
    assert caplog.messages == []
