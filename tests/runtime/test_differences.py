"""Differences of settings are listed by key, as they are typed."""

from typing import Any

import pytest

from vae3d.runtime.differences import differences


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": None}, {}, []),
        ({}, {"a": None}, []),
        ({"a": None}, {"a": True}, ["a: null -> true"]),
        ({"t": {}}, {"t": {"ssim": 0.5}}, ["t.ssim: not set -> 0.5"]),
        ({"w": [-1.0, 1.0]}, {"w": None}, ["w: [-1.0,1.0] -> null"]),
        ({}, {"t": {"x": {"y": 1}}}, ["t.x.y: not set -> 1"]),
        ({"levels": [{"c": 32}]}, {"levels": [{"c": 64}]}, ["levels.0.c: 32 -> 64"]),
        (
            {"levels": [{"c": 32}]},
            {"levels": [{"c": 32}, {"c": 64, "s": [2]}]},
            ["levels.1.c: not set -> 64", "levels.1.s: not set -> [2]"],
        ),
        ({"levels": [{"c": 32}]}, {}, ["levels.0.c: 32 -> not set"]),
        ({"t": {}}, {}, ["t: {} -> not set"]),
        ({"t": 1}, {"t": {"x": 2}}, ["t: 1 -> {'x': 2}"]),
    ],
)
def test_differences(old: Any, new: Any, lines: list[str]) -> None:
    assert differences(old, new) == lines
