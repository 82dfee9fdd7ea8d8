"""Weights by a name on the hub: from its cache alone, or a one-line error."""

import ast
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT, tiny_model
from vae3d.autoencoder.hub import FILES, is_hub_id, local_folder
from vae3d.autoencoder.places import find_weights
from vae3d.autoencoder.start import licence_of, read_start
from vae3d.autoencoder.vae import CustomVAE
from vae3d.commands import COMMANDS
from vae3d.commands.eval import EvalConfig
from vae3d.commands.eval_run import evaluate
from vae3d.data.config import SyntheticConfig
from vae3d.errors import ConfigError, RunError
from vae3d.runtime.registry import load
from vae3d.runtime.run_folder import RunFolder

NAME, COMMIT, OLDER = "some-one/ct_vae.v2", "4f" * 20, "1b" * 20


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with one repository of two commits, and no network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    folder = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = folder / f"models--{NAME.replace('/', '--')}"
    for seed, commit in enumerate((COMMIT, OLDER)):
        torch.manual_seed(seed)
        CustomVAE(tiny_model()).save_pretrained(tmp_path / commit)
        keep(repository, commit, tmp_path / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "refs" / "old").write_text(OLDER)
    return folder


def keep(repository: Path, commit: str, folder: Path) -> None:
    """Store a folder's files as the hub's client does: one blob each, and links to them."""
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir(exist_ok=True)
    for name in FILES:
        content = (folder / name).read_bytes()
        blob = hashlib.sha256(content).hexdigest()
        (repository / "blobs" / blob).write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def assert_equal(first: CustomVAE, second: CustomVAE) -> None:
    other = second.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


def refusal(name: str, revision: str | None = None) -> str:
    with pytest.raises(RunError) as refused:
        CustomVAE.from_pretrained(name, revision)
    line = str(refused.value)
    assert "\n" not in line
    assert line.startswith(f"{name}: ")
    assert len(line) < 1000
    return line


def test_what_was_downloaded_once_is_read_offline(cache: Path, tmp_path: Path) -> None:
    newest = CustomVAE.from_pretrained(tmp_path / COMMIT)
    older = CustomVAE.from_pretrained(tmp_path / OLDER)
    assert_equal(CustomVAE.from_pretrained(NAME), newest)
    assert_equal(CustomVAE.from_pretrained(NAME, "main"), newest)
    assert_equal(CustomVAE.from_pretrained(NAME, revision="old"), older)
    assert_equal(CustomVAE.from_pretrained(NAME, revision=OLDER), older)


def test_hub_names_a_revision(cache: Path, tmp_path: Path) -> None:
    newest = CustomVAE.from_pretrained(tmp_path / COMMIT)
    older = CustomVAE.from_pretrained(tmp_path / OLDER)
    assert_equal(CustomVAE.from_pretrained(f"hub:{NAME}"), newest)
    for name in (f"hub:{NAME}@old", f"{NAME}@{OLDER}"):
        assert_equal(CustomVAE.from_pretrained(name), older)
    assert "check the name" in refusal(f"hub:{NAME}@missing")


def test_a_mistyped_run_is_never_asked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: Any, **options: Any) -> str:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", asked)
    run = RunFolder(tmp_path / "runs/ct64")
    run.checkpoints.mkdir(parents=True)
    run.config.write_text("{}")
    with pytest.raises(RunError, match=r"did you mean runs/ct64\? runs here: runs/ct64"):
        CustomVAE.from_pretrained("runs/ct65")
    for command in ("eval", "info"):
        with pytest.raises(RunError, match=r"runs/ct65: no run here .*did you mean runs/ct64"):
            load(COMMANDS[command].run)(COMMANDS[command].config(run="runs/ct65"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", _offline)
    with pytest.raises(RunError, match=r"^rums/ct64: .*no network.*did you mean runs/ct64\?"):
        find_weights("rums/ct64")
    with pytest.raises(RunError, match=r"^hub:rums/ct64: the download .*no network") as refused:
        find_weights("hub:rums/ct64")
    assert "runs/" not in str(refused.value)


def _offline(*arguments: Any, **options: Any) -> str:
    raise OSError("no network")


def test_a_run_means_its_best_weights(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.config.write_text("{}")
    with pytest.raises(RunError, match="no weights here"):
        CustomVAE.from_pretrained(run.path)
    for seed, which in enumerate(("latest", "best")):
        torch.manual_seed(seed)
        model = CustomVAE(tiny_model())
        model.save_pretrained(run.weights(which))
        assert_equal(CustomVAE.from_pretrained(run.path), model)


@pytest.mark.parametrize(
    "name", ["hub:", "hub:model", "hub:a/b/c", "hub:a/b@", "hub:../a", "hub:a/b@c..d"]
)
def test_what_is_no_name_on_the_hub_is_refused(name: str) -> None:
    assert "must be hub:owner/name or hub:owner/name@revision" in refusal(name)


def test_commands_take_names_on_the_hub(cache: Path, tmp_path: Path) -> None:
    assert find_weights(f"hub:{NAME}@old").weights == find_weights(f"{NAME}@{OLDER}").weights
    start = read_start(NAME)
    assert start.ancestors[0].hub == NAME
    with pytest.raises(ConfigError, match="drop weights=best"):
        find_weights(NAME, "best")
    config = EvalConfig(run=NAME, data=SyntheticConfig(shape=(8, 8, 8), count=2))
    with pytest.raises(ConfigError, match="output must name a folder"):
        evaluate(config)


def test_the_licence_is_that_of_the_card(cache: Path, tmp_path: Path) -> None:
    card = "---\ntags:\n- vae\nlicense: apache-2.0\n---\n# Weights\n"
    for path in (cache / f"models--{NAME.replace('/', '--')}").glob("snapshots/*"):
        (path / "README.md").unlink()
        (path / "README.md").write_text(card)
    assert read_start(f"hub:{NAME}@old").ancestors[0].text == (
        f"{NAME}@old (licence apache-2.0, SHA-256 {digest_of(tmp_path / OLDER)[:12]})"
    )


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: 'mit'\n---\n", "mit"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: nv-open\n---\n", "nv-open"),
        ("---\nlicense: other\n---\n", "other"),
        ("license: mit\n", ""),
        ("---\ntags: x\n---\nlicense: mit\n", ""),
        ("---\nlicense: [a](http://x)\n---\n", ""),
        ("---\nlicense: " + "m" * 100 + "\n---\n", ""),
        ("---\n" + "a: b\n" * 100_000 + "license: mit\n---\n", ""),
    ],
)
def test_a_licence_is_one_plain_word(tmp_path: Path, card: str, licence: str) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence_of(tmp_path) == licence


def test_a_card_that_is_no_file_has_no_licence(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == ""
    os.mkfifo(tmp_path / "README.md")
    assert licence_of(tmp_path) == ""


def test_a_process_with_the_cache_alone_reads_it(cache: Path, tmp_path: Path) -> None:
    command = "import sys; from vae3d import CustomVAE; CustomVAE.from_pretrained(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", command, NAME],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(cache),
             "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_folder_of_that_name_comes_first(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    own = CustomVAE(tiny_model())
    own.save_pretrained(tmp_path / NAME)
    assert_equal(CustomVAE.from_pretrained(NAME), own)
    assert "only a name on the hub has a revision" in refusal(NAME, "main")
    # `hub:` means the hub all the same.
    assert not torch.equal(
        next(CustomVAE.from_pretrained(f"hub:{NAME}").parameters()), next(own.parameters())
    )


def test_a_failed_download_is_reported_on_one_line(cache: Path) -> None:
    way = "check the name, the revision, the network and hf auth login, or name a local folder"
    for name, revision in (("some-one/other", None), (NAME, "v9"), (NAME, "77" * 20)):
        line = refusal(name, revision)
        assert "there is no such folder" in line
        assert way in line
    for path in (cache / f"models--{NAME.replace('/', '--')}").glob("snapshots/*/config.json"):
        path.unlink()
    with pytest.raises(RunError, match=r"config\.json is missing"):
        CustomVAE.from_pretrained(NAME)


@pytest.mark.parametrize("error", [OSError("a\nb" * 1000), ValueError(), RuntimeError("no room")])
def test_whatever_goes_wrong_there_is_one_line(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*arguments: Any, **options: Any) -> str:
        assert options["allow_patterns"] == ["config.json", "model.safetensors", "README.md"]
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    assert "the download from the Hugging Face hub failed" in refusal("a/b")


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'vae3d[hub]'" in refusal("some-one/model")


@pytest.mark.parametrize(
    "text",
    ["", "model", "a/b/c", "/a", "a/", "./a", "../a", "~/a", "/a/b", "a/.b", "a b/c", "a--b/c",
     "a/b..c", "a/b.git", "C:\\a", "ä/b", "a/b\n", "https://x/y"],
)  # fmt: skip
def test_other_paths_stay_paths(text: str) -> None:
    assert not is_hub_id(text)
    assert local_folder(text) == Path(text)


def test_a_path_is_never_asked_for_on_the_hub(tmp_path: Path) -> None:
    for missing in (Path("some-one/model"), tmp_path / "w", str(tmp_path / "w")):
        with pytest.raises(RunError, match=r"no weights here \(config.json is missing\)"):
            CustomVAE.from_pretrained(missing)


def test_one_module_knows_the_hub() -> None:
    for path in (ROOT / "vae3d").rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text()))]
        names = [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
        names += [a.name for n in nodes if isinstance(n, ast.Import) for a in n.names]
        knows = any(name.split(".")[0] == "huggingface_hub" for name in names)
        assert knows == (path.relative_to(ROOT).as_posix() == "vae3d/autoencoder/hub.py"), path
