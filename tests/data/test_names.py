"""Names of cases that would break a line of a table are refused before the work."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from vae3d.data.config import CTConfig
from vae3d.errors import ConfigError, DataError
from vae3d.files.paths import user_path
from vae3d.lists.entries import read_list
from vae3d.lists.search import search
from vae3d.values.naming import BREAKS, case_id_fault

NAMES = sorted(BREAKS - {"\0"})


def test_every_character_that_splits_lines_is_refused() -> None:
    splitting = {c for c in map(chr, range(0x3000)) if len(f"a{c}b".splitlines()) > 1}
    assert splitting == BREAKS - {"\0"}
    assert case_id_fault('sub-01/ct läuft, "x"\t\x1b 日本\u3000\u200c') is None
    assert "is not UTF-8" in str(case_id_fault("a\ud800"))
    assert "4097 bytes" in str(case_id_fault("a" * 4097))


@pytest.mark.parametrize("character", NAMES)
def test_a_name_with_a_line_end_is_refused_by_name(tmp_path: Path, character: str) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4))
    nibabel.save(image, folder / "a.nii")
    (folder / "a.nii").rename(folder / f"a{character}b.nii")
    for root in (folder, folder / f"a{character}b.nii"):
        with pytest.raises(DataError, match=r"would break a line of a table; rename it"):
            search(str(root), 3)
    # A list gives the same file another name.
    path = tmp_path / "list.csv"
    rows = 'path,case_id\n"scans/a{0}b.nii",{1}\n'
    path.write_text(rows.format(character, "c"), encoding="utf-8", newline="")
    (entry,) = read_list(CTConfig(list=str(path)))
    assert entry.case_id == "c"
    assert entry.path.exists()
    path.write_text(rows.format(character, f'"x{character}y"'), encoding="utf-8", newline="")
    with pytest.raises(DataError, match=r"line \d, column 'case_id': the name .* break a line"):
        read_list(CTConfig(list=str(path)))


@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800/x"])
def test_a_name_that_no_file_can_have_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="is no name that a file can have"):
        user_path(text)
