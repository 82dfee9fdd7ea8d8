"""Files are regular and of a size that is allowed."""

import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from vae3d.files.reading import (
    MAX_LINE_BYTES,
    check_regular,
    lines_of,
    open_regular,
    read_bytes,
    read_text,
)


def a_socket(path: Path) -> None:
    # The name of a socket is limited to about 100 characters, which a test's folder may exceed.
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


MAKERS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("read", [open_regular, check_regular, lambda path: read_bytes(path, 9)])
def test_what_is_no_file_is_not_opened(
    kind: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    MAKERS[kind](tmp_path / "x")
    with pytest.raises(OSError, match=f"is {kind}, not a file"):
        read(tmp_path / "x")


def test_a_file_has_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_bytes(path, 9) == path.read_bytes()
    assert read_text(path, 9, "utf-8-sig") == "a\nb\nc"
    for read in (read_bytes, open_regular):
        with pytest.raises(OSError, match="more than 8 bytes") as caught:
            read(path, 8)
        assert caught.value.errno == errno.EFBIG
    path.write_bytes(bytes(2 * 2**20))
    with pytest.raises(OSError, match=re.escape("more than 1.5 MiB")):
        check_regular(path, 3 * 2**19)
    # A file of the system states a size of 0.
    if (endless := Path("/proc/self/status")).exists():
        with pytest.raises(OSError, match="more than 8 bytes"):
            read_bytes(endless, 8)


def test_a_link_is_followed_where_it_may_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "link").symlink_to("x")
    assert read_text(tmp_path / "link", 9) == "x"
    with pytest.raises(OSError, match="is a link"):
        read_text(tmp_path / "link", 9, linked=False)
    assert read_text(tmp_path / "x", 9, linked=False) == "x"
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none", 9)


def test_a_link_put_there_in_between_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_text("x")
    (tmp_path / "link").symlink_to("x")
    (tmp_path / "pipe").symlink_to("/dev/null")
    seen = (tmp_path / "x").stat()
    monkeypatch.setattr(Path, "lstat", lambda _: seen)
    with pytest.raises(OSError, match="link"):
        open_regular(tmp_path / "link", linked=False)
    monkeypatch.setattr(Path, "stat", lambda _: seen)
    with pytest.raises(OSError, match="is a device"):
        open_regular(tmp_path / "pipe")


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"a\r\n\n" + b"x" * (MAX_LINE_BYTES - 1) + b"\nb")
    with open_regular(path) as file:
        assert [len(line) for line in lines_of(file, path)] == [3, 1, MAX_LINE_BYTES, 1]
    with path.open("ab") as file:
        file.truncate(2**40)
    with open_regular(path) as file, pytest.raises(OSError, match="line of more than 1 MiB"):
        list(lines_of(file, path))
