"""The house rules that a reader should be able to trust without checking."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vae3d.commands import COMMANDS
from vae3d.data.config import DATA
from vae3d.logger.config import LOGGERS
from vae3d.loss.config import LOSSES
from vae3d.model.config import ACTIVATIONS, FINAL_ACTIVATIONS, NORMS
from vae3d.patching.config import BLENDS
from vae3d.scans.formats import FORMATS
from vae3d.scoring.config import BASELINES, METRICS
from vae3d.trainer.config import OPTIMIZERS

PACKAGE = Path(__file__).parent.parent / "vae3d"

# Top floor first. A module imports only from floors below its own; names on one floor are
# strangers to each other.
FLOORS = [
    {"__main__"},
    {"cli", "library"},
    {"commands"},
    {"settings"},
    {"evaluation", "trainer", "comparison"},
    {"report"},
    {"scoring", "latents", "pictures", "loading"},
    {"inference", "data", "loss"},
    {"autoencoder", "store", "lists"},
    {"streaming", "scans"},
    {"model", "patching", "logger"},
    {"values", "charts"},
    {"runtime", "bounds"},
    {"errors", "version"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
ONLY_IN = {
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "wandb": {"logger"},
    "rich": {"logger"},
    "huggingface_hub": {"autoencoder"},
    "nibabel": {"scans"},
    "tifffile": {"scans"},
    "imageio": {"scans"},
    "imageio_ffmpeg": {"pictures"},
    "blosc2": {"store"},
    "sqlite3": {"store"},
}
FORBIDDEN_CALLS = {"eval", "exec", "__import__"}
FORBIDDEN_NAMES = {"pickle", "marshal", "shelve", "joblib", "dill", "instantiate", "extractall"}

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
every_module = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE))
)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_names(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: use absolute imports"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@every_module
def test_module_imports_only_from_floors_below(path: Path) -> None:
    here = part_of(path)
    for name in imported_names(path):
        package, *rest = name.split(".")
        if package != "vae3d" or rest[:1] == [here]:
            continue
        assert rest, f"{name} stands on no floor"
        assert rest[0] in FLOOR_OF, f"{name} stands on no floor"
        assert FLOOR_OF[rest[0]] > FLOOR_OF[here], f"{here} may not import {name}"


def test_no_module_is_imported_by_what_it_imports() -> None:
    name_of = {
        path: ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES
    }
    modules = {name.removesuffix(".__init__"): path for path, name in name_of.items()}
    below = {
        module: {
            known
            for name in imported_names(path)
            for known in [name if name in modules else name.rpartition(".")[0]]
            if known in modules and known != module
        }
        for module, path in modules.items()
    }
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, f"a circle: {' -> '.join((*way, module))}"
        if module not in done:
            for other in below[module]:
                visit(other, (*way, module))
            done.add(module)

    for module in modules:
        visit(module, ())


@every_module
def test_third_party_libraries_stay_in_their_room(path: Path) -> None:
    for name in imported_names(path):
        rooms = ONLY_IN.get(name.split(".")[0])
        assert rooms is None or part_of(path) in rooms, f"{name} belongs in {rooms}"


@every_module
def test_nothing_that_is_read_can_run_code(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in FORBIDDEN_CALLS, f"{called} in {path}"
        assert not FORBIDDEN_NAMES & set(called.split(".")), f"{called} in {path}"
        arguments = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load":
            assert arguments.get("weights_only") == "True"
        if called in ("np.load", "numpy.load"):
            assert arguments.get("allow_pickle") == "False"


@every_module
def test_private_operators_of_torch_are_in_one_module(path: Path) -> None:
    if path == PACKAGE / "model" / "operators.py":
        return
    private = re.compile(r"torch\.ops\.|torch\.mkldnn_\w+|torch\.utils\._\w+")
    for name in private.findall(path.read_text()):
        raise AssertionError(f"{name} is private to torch: it belongs in model/operators.py")


REGISTRIES = (
    *(ACTIVATIONS, BASELINES, BLENDS, COMMANDS, DATA, FINAL_ACTIVATIONS),
    *(LOGGERS, LOSSES, METRICS, NORMS, OPTIMIZERS, FORMATS),
)
HEAVY = {"torch", "numpy", "scipy", "hydra", "omegaconf", "wandb", "rich", "nibabel", "blosc2"}
SETTINGS = ["vae3d.cli", "vae3d.settings.help", *(f"vae3d.commands.{name}" for name in COMMANDS)]


def loaded_after(statement: str) -> set[str]:
    """The packages that a new Python has loaded after a statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    return {*done.stdout.split()}


def test_settings_load_nothing_heavy() -> None:
    assert not loaded_after(f"import {', '.join(SETTINGS)}") & HEAVY


def test_a_latent_dataset_loads_no_reader_of_scans() -> None:
    loaded = loaded_after("from vae3d import LatentDataset")
    assert "torch" in loaded
    assert not loaded & {"blosc2", "nibabel", "sqlite3", "tifffile", "scipy", "rich"}


def test_every_entry_of_every_registry_can_be_imported() -> None:
    for registry in REGISTRIES:
        for name in registry:
            assert registry[name] is not None
