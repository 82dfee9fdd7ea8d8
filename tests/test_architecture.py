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
from vae3d.scoring.config import BASELINES, METRICS, SET_SCORES
from vae3d.trainer.config import OPTIMIZERS

PACKAGE = Path(__file__).parent.parent / "vae3d"

# Top floor first. A module imports only from floors below its own; names on one floor are
# strangers to each other.
FLOORS = [
    {"__main__"},
    {"cli", "library"},
    {"commands"},
    {"run"},
    {"settings"},
    {"verification", "budget"},
    {"evaluation", "trainer", "comparison", "probing", "inspection"},
    {"report", "loading"},
    {"scoring", "latents", "pictures"},
    {"inference", "data", "loss", "foreign", "exchange"},
    {"features"},
    {"autoencoder", "store", "lists", "adversary"},
    {"streaming", "scans", "checkpoints"},
    {"model", "patching", "logger"},
    {"values", "charts", "phantoms", "distances", "layers"},
    {"runtime", "bounds"},
    {"files"},
    {"system"},
    {"errors", "version"},
]
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
ONLY_IN = {
    "hydra": {"cli"},
    "omegaconf": {"cli"},
    "wandb": {"logger"},
    "rich": {"logger"},
    "huggingface_hub": {"autoencoder"},
    "monai": {"foreign"},
    "diffusers": {"foreign"},
    "nibabel": {"scans"},
    "tifffile": {"scans"},
    "imageio": {"scans"},
    "imageio_ffmpeg": {"pictures"},
    "blosc2": {"store"},
    "sqlite3": {"store"},
    "sklearn": {"probing"},
    "onnxruntime": {"exchange"},
}
MAX_LINES = 2200
"""Lines of a package, with docstrings and blank lines."""
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


@pytest.mark.parametrize("package", sorted({part_of(path) for path in MODULES}))
def test_a_package_can_be_read_in_an_afternoon(package: str) -> None:
    modules = [path for path in MODULES if part_of(path) == package]
    lines = sum(len(path.read_text().splitlines()) for path in modules)
    assert lines <= MAX_LINES, f"{package} has {lines} lines: move what is a noun of its own"


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
    if path == PACKAGE / "layers" / "operators.py":
        return
    private = re.compile(r"torch\.ops\.|torch\.mkldnn_\w+|torch\.utils\._\w+")
    for name in private.findall(path.read_text()):
        raise AssertionError(f"{name} is private to torch: it belongs in layers/operators.py")


REGISTRIES = (
    *(ACTIVATIONS, BASELINES, BLENDS, COMMANDS, DATA, FINAL_ACTIVATIONS),
    *(LOGGERS, LOSSES, METRICS, NORMS, OPTIMIZERS, FORMATS, SET_SCORES),
)
HEAVY = {"torch", "numpy", "scipy", "hydra", "omegaconf", "wandb", "rich", "nibabel", "blosc2"}
# `import` is a word of Python, and no name of a module.
COMMAND_MODULES = [name if name != "import" else "import_weights" for name in COMMANDS]
SETTINGS = [
    "vae3d.cli",
    "vae3d.settings.help",
    *(f"vae3d.commands.{name}" for name in COMMAND_MODULES),
]


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


# Calls that open a path by themselves, and the calls that may open one for them.
OPENERS = re.compile(
    r"(open|io\.open|(gzip|tifffile|Image|blosc2|imageio|nibabel)\.\w*(open|load|read|File)\w*"
    r"|np\.(load|memmap|fromfile|loadtxt)|sqlite3\.connect|safe_open|load_file|torch\.load"
    r"|json\.load|.*\.(open|read_text|read_bytes))"
)
CHECKS = re.compile(
    r"(?<![\w.])((open|check)_regular|check_kind|open_text|check_header|read_bytes)\("
)
OPENED_ELSEWHERE = {
    "files/reading.py": "is the one place",
    "files/links.py": "opens the files that vae3d appends to, and no link",
    "system/cores.py": "/proc and /sys",
    "system/abilities.py": "opens what vae3d wrote, and folders, to flush them",
    "system/limits.py": "a temporary file of this process",
    "system/maps.py": "maps a file that is open",
    "system/streams.py": "/dev/null",
    "runtime/heap.py": "/sys",
    "runtime/memory.py": "/proc",
    "files/gzipped.py": "decompresses a file that is open",
    "settings/groups.py": "option files, which may run code as a program does",
    "settings/schema.py": "sources of the package",
    "report/page.py": "assets of the package",
    "store/catalog.py": "SQLite opens a catalog that `Catalog` has checked, and temporary files",
    "scoring/codecs.py": "an image in memory",
    "checkpoints/folder.py": "verified by its SHA-256 before",
}


@every_module
def test_files_are_opened_in_one_place(path: Path) -> None:
    """A function that lets a library open a path looks first whether it is a regular file."""
    if str(path.relative_to(PACKAGE)) in OPENED_ELSEWHERE:
        return
    functions = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)
    ]
    for function in functions:
        text = ast.unparse(function)
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not OPENERS.fullmatch(ast.unparse(node.func)):
                continue
            values = (*node.args, *(word.value for word in node.keywords))
            modes = {a.value for a in values if isinstance(a, ast.Constant)} & {
                "w",
                "wb",
                "a",
                "x",
            }
            call = ast.unparse(node)[:60]
            assert modes or CHECKS.search(text), f"{call} in {path}: use files/reading.py"
