"""Untrusted files become typed values, or raise an error of one line."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vae3d.errors import ConfigError
from vae3d.files import plain
from vae3d.files.plain import finite_or_none, from_plain, read_json, read_yaml


@dataclass
class Inner:
    """A number of at least one."""

    number: int = 1

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ConfigError("number must be at least 1")


@dataclass
class Outer:
    """One field of each kind."""

    share: float
    name: str = "a"
    flag: bool = False
    sides: tuple[int, ...] = (1,)
    inner: Inner = field(default_factory=Inner)
    either: int | str | None = None
    table: dict[str, float] = field(default_factory=dict)
    items: list[Inner] = field(default_factory=list)
    anything: Any = None


def test_values_become_what_their_types_say() -> None:
    found = from_plain(
        Outer,
        {
            "share": 2, "sides": [3, 4], "inner": {"number": 5}, "either": "x", "flag": True,
            "table": {"a": 1}, "items": [{"number": 6}, {}], "anything": {"b": [None]},
        },
    )  # fmt: skip
    assert found == Outer(
        2.0, "a", True, (3, 4), Inner(5), "x", {"a": 1.0}, [Inner(6), Inner()], {"b": [None]}
    )
    assert type(found.share) is type(found.table["a"]) is float
    assert type(found.sides) is tuple
    assert from_plain(Outer, found) is found, "what has been made is left alone"
    for value in (None, 3, "x"):
        assert from_plain(Outer, {"share": 1.0, "either": value}).either == value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the file must be a table, got []"),
        ({"share": "1"}, "share must be a number, got '1'"),
        ({"share": True}, "share must be a number, got True"),
        ({"share": float("nan")}, "share must be a number, got nan"),
        ({"share": 10**400}, "share must be a number, got a huge number"),
        ({"share": 1, "flag": 1}, "flag must be true or false, got 1"),
        ({"share": 1, "sides": [1, True]}, "sides.1 must be a whole number, got True"),
        ({"share": 1, "sides": [1.0]}, "sides.0 must be a whole number, got 1.0"),
        ({"share": 1, "sides": 3}, "sides must be a list, got 3"),
        ({"share": 1, "name": 3}, "name must be text, got 3"),
        ({"share": 1, "either": 1.5}, "either must be text, got 1.5"),
        ({"share": 1, "inner": {"numbers": 1}}, "unknown key 'inner.numbers'"),
        ({"share": 1, "inner": {"number": 0}}, "number must be at least 1"),
        ({"share": 1, "items": [{}, {"number": "x"}]}, "items.1.number must be a whole number"),
        ({"share": 1, "table": {1: 2.0}}, "table must be text, got 1"),
        ({"share": 1, "table": {"a": "b"}}, "table.a must be a number, got 'b'"),
        ({"share": 1, "name": ["x" * 99]}, f"name must be text, got ['{'x' * 58}..."),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_of_another_type_is_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_plain(Outer, values)
    assert message in str(caught.value)


def test_infinity_is_a_number_of_settings_but_none_of_json() -> None:
    assert from_plain(float, float("inf")) == float("inf")
    found = [finite_or_none(value) for value in (1.5, float("inf"), float("nan"))]
    assert found == [1.5, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "holds NaN, which is no number"),
        ('{"a": -Infinity}', "holds -Infinity, which is no number"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "holds 'b' twice"),
        ('{"a": [{"_target_": 1}]}', "'a.0._target_' names code"),
        ('{"_args_": 1}', "'_args_' names code"),
        ('{"a"', "cannot be read"),
        ("[" * 51 + "]" * 51, "is nested deeper than 50"),
    ],
    ids=lambda text: text[:30],
)
def test_json_that_is_not_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_json(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &b 1\nc: *b", "holds an alias"),
        ("a: {_partial_: true}", "'a._partial_' names code"),
        ("a: !!python/object:os.system x", "cannot be read"),
        ("a: !!int x", "cannot be read"),
        ("a: " + "[" * 51 + "]" * 51, "is nested deeper than 50"),
    ],
    ids=lambda text: text[:30],
)
def test_yaml_that_is_not_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert message in str(caught.value)


def test_trees_of_many_branches_are_read(tmp_path: Path) -> None:
    """Depth is counted along a branch, not over all of them."""
    tree = {f"key{number}": [{"a": [number]}] for number in range(100)}
    deep: Any = 1
    for _ in range(49):
        deep = [deep]
    (tmp_path / "a.json").write_text(json.dumps([tree, deep]))
    assert read_json(tmp_path / "a.json") == [tree, deep]
    (tmp_path / "a.yaml").write_text(json.dumps(tree))
    assert read_yaml(tmp_path / "a.yaml") == tree
    (tmp_path / "b.yaml").write_text("a: ${oc.env:HOME}\nb: 1e3\n")
    assert read_yaml(tmp_path / "b.yaml") == {"a": "${oc.env:HOME}", "b": "1e3"}


def test_large_files_and_no_files_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    monkeypatch.setattr(plain, "MAX_JSON_BYTES", 8)
    assert read_json(path) == {"a": 1}
    monkeypatch.setattr(plain, "MAX_JSON_BYTES", 7)
    with pytest.raises(ConfigError, match="has more than 7 bytes"):
        read_json(path)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing.json")
    os.mkfifo(tmp_path / "pipe")
    for place, kind in ((tmp_path, "folder"), (tmp_path / "pipe", "pipe")):
        with pytest.raises(ConfigError, match=f"cannot be read: is a {kind}, not a file"):
            read_json(place)
    assert (2**20, plain.MAX_YAML_BYTES) == (2**20, 2**17)
