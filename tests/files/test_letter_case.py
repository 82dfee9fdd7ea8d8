"""Cases whose names differ only in case do not share a file where the file system ignores case."""

from pathlib import Path

import pytest

from tests.conftest import tiny_model
from tests.security.test_outputs import NamedImages, evaluated
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands.encode import EncodeConfig
from vae3d.commands.encode_run import encode
from vae3d.data.config import CTConfig
from vae3d.errors import DataError
from vae3d.files import letter_case
from vae3d.files.atomic import target_of
from vae3d.latents.folder import latent_file
from vae3d.runtime.distributed import Distributed
from vae3d.scans.outputs import Outputs
from vae3d.values import naming
from vae3d.values.contract import InputContract

TWINS = ["a/Scan", "b", "a/scan"]
INPUTS = dict.fromkeys(TWINS, "")
REFUSED = r"the cases 'a/Scan' and 'a/scan' would share a file, as this file system ignores case"


@pytest.fixture
def ignoring(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that were probed; each seems to ignore case."""
    probed: list[Path] = []

    def ignores(folder: Path) -> bool:
        probed.append(folder)
        return True

    monkeypatch.setattr(naming, "ignores_case", ignores)
    return probed


def test_the_probe_sees_what_the_file_system_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "not" / "yet"
    same = (tmp_path / "letters").mkdir() or (tmp_path / "LETTERS").exists()
    (tmp_path / "letters").rmdir()
    assert letter_case.ignores_case(missing) == same
    written: list[str] = []
    exists = Path.exists

    def folded(path: Path) -> bool:
        written.extend(file.name for file in path.parent.iterdir())
        return exists(path) or any(n.casefold() == path.name.casefold() for n in written)

    monkeypatch.setattr(Path, "exists", folded)
    assert letter_case.ignores_case(tmp_path)
    monkeypatch.undo()
    assert len(written) == 1
    assert target_of(tmp_path / written[0]) == "case", "a kill leaves what the next command sweeps"
    assert not [*tmp_path.iterdir()]


def test_outputs_refuse_such_names_before_anything_is_written(
    tmp_path: Path, ignoring: list[Path]
) -> None:
    outputs = Outputs(tmp_path / "out", "fail", "auto", 3)
    with pytest.raises(DataError, match=REFUSED), outputs.claimed(INPUTS, Distributed(), "digest"):
        raise AssertionError("not refused")
    assert not (tmp_path / "out").exists()
    with outputs.claimed({"scan": "", "scan_2": ""}, Distributed(), "digest"):
        pass
    assert ignoring == [tmp_path / "out"], "other names are not worth a probe"


def test_an_evaluation_with_files_refuses_them(tmp_path: Path, ignoring: list[Path]) -> None:
    with pytest.raises(DataError, match=REFUSED):
        evaluated(NamedImages(TWINS), tmp_path / "report", ["png"])
    assert ignoring == [tmp_path / "report"]
    assert not [*tmp_path.rglob("*.png")]


def test_where_case_counts_each_has_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(naming, "ignores_case", lambda folder: False)
    with Outputs(tmp_path, "fail", "auto", 3).claimed(INPUTS, Distributed(), "digest") as due:
        assert due == TWINS
    assert len({naming.file_stem(name) for name in TWINS}) == 3


def test_latents_as_nifti_refuse_them_too(tmp_path: Path, ignoring: list[Path]) -> None:
    source = NamedImages(TWINS, (8, 8, 8))
    model = CustomVAE(tiny_model())
    model.contract = InputContract(source.contract)
    model.save_pretrained(tmp_path / "weights")
    config = EncodeConfig(
        run=str(tmp_path / "weights"),
        output=str(tmp_path / "out"),
        device="cpu",
        data=CTConfig(root=str(tmp_path), store=None),
    )
    config.nifti = True
    with pytest.raises(DataError, match=REFUSED):
        encode(config, source)
    config.nifti = False
    encode(config, source)
    assert ignoring == [tmp_path / "out/nifti"]


def test_stores_and_latents_name_files_by_digest() -> None:
    for name in (naming.case_file, latent_file):
        assert len({str(name(case)).casefold() for case in TWINS}) == 3
