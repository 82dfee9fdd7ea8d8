"""Nothing that the program reads can run code: no line of it could have it run."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCES = sorted([*(ROOT / "vae3d").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])
IMPORTERS = {
    *("vae3d/__init__.py", "vae3d/runtime/registry.py"),
    *("vae3d/data/custom.py", "scripts/mutation/forks.py", "scripts/benchmarks/table.py"),
}
"""The tables of names, which are code; the Dataset and the plugins that the command line names."""

OF_ITSELF = {"vae3d/exchange/programs.py": {"torch.export.load"}}
"""What loads a file that this process has just written to a folder of its own, to compare it."""

UNPICKLERS = {"pickle", "_pickle", "cPickle", "cloudpickle", "marshal", "shelve", "joblib", "dill"}
FORBIDDEN = {
    *("eval", "exec", "__import__", "builtins.eval", "builtins.exec", "builtins.__import__"),
    *("os.system", "os.popen", "pty.spawn", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *(f"yaml.{name}" for name in ("load", "load_all", "full_load", "full_load_all")),
    *(f"yaml.{name}" for name in ("unsafe_load", "unsafe_load_all", "Loader", "CLoader")),
    *(f"yaml.{name}" for name in ("FullLoader", "UnsafeLoader", "CFullLoader", "CUnsafeLoader")),
    *(f"hydra.utils.{name}" for name in ("instantiate", "call", "get_class", "get_object")),
    *("hydra.utils.get_method", "hydra.utils.get_static_method", "hydra._internal.instantiate"),
    *("torch.hub", "torch.package", "torch.jit.load", "torch.export.load", "pandas.read_pickle"),
    *("shutil.unpack_archive", "runpy.run_path", "runpy.run_module"),
}
IMPORTING = {"importlib.import_module", "importlib.util.spec_from_file_location"}
SAFE_IF = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
    "numpy.lib.format.read_array": ("allow_pickle", False),
}
METHODS = {"extractall", "get_unsafe_globals_in_checkpoint", "add_safe_globals", "safe_globals"}
ARGUMENTS = {"trust_remote_code", "shell"}


def offences(code: str, imports_allowed: bool = False) -> list[str]:
    """What a module says that could run code out of a file, by line."""
    tree = ast.parse(code)
    names = dict(imported(tree))
    bad = [(line, name) for name, (line, full) in names.items() if forbidden(full)]
    safe = {id(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call)
            and is_safe(call, names)}  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ARGUMENTS and not is_false(node.value):
            bad.append((node.value.lineno, node.arg))
        if not isinstance(node, ast.Name | ast.Attribute):
            continue
        full = full_name(node, names)
        importing = full in IMPORTING and not imports_allowed
        unsafe = full in SAFE_IF and id(node) not in safe
        method = isinstance(node, ast.Attribute) and node.attr in METHODS
        if forbidden(full) or importing or unsafe or method:
            bad.append((node.lineno, full))
    return [f"line {line}: {name}" for line, name in sorted(bad)]


def imported(tree: ast.AST) -> Iterator[tuple[str, tuple[int, str]]]:
    """The module's own names for what it imports: line and full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds a, and makes a.b known.
                bound = alias.asname or alias.name
                yield bound, (node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield alias.asname or alias.name, (node.lineno, full)


def full_name(node: ast.expr, names: dict[str, tuple[int, str]]) -> str:
    """`np.load` as `numpy.load`; of anything but names and dots only the end."""
    if isinstance(node, ast.Attribute):
        return f"{full_name(node.value, names)}.{node.attr}"
    if isinstance(node, ast.Name):
        return names[node.id][1] if node.id in names else node.id
    return "?"


def forbidden(name: str) -> bool:
    parts = name.split(".")
    prefixes = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return bool(prefixes & FORBIDDEN) or parts[0] in UNPICKLERS


def is_safe(call: ast.Call, names: dict[str, tuple[int, str]]) -> bool:
    argument, value = SAFE_IF.get(full_name(call.func, names), ("", None))
    given = {word.arg: word.value for word in call.keywords}.get(argument)
    return isinstance(given, ast.Constant) and given.value is value


def is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    own = OF_ITSELF.get(name, set())
    found = offences(path.read_text(), name in IMPORTERS)
    assert [line for line in found if line.partition(": ")[2] not in own] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "import cloudpickle as plain",
        "from pickle import loads",
        "from marshal import load as read",
        "import shelve",
        "import joblib",
        "import dill",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=trusted)",
        "import torch\ntorch.load(path, **options)",
        "import torch as t\nt.load(path)",
        "from torch import load\nload(path)",
        "from torch import load as read\nread(path, weights_only=False)",
        "import torch\nread = torch.load\nread(path)",
        "import torch\ntorch.serialization.add_safe_globals([X])",
        "import torch\ntorch.hub.load_state_dict_from_url(url)",
        "from torch import hub",
        "import torch.hub",
        "import torch\ntorch.jit.load(path)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy\nnumpy.load(path, 'r')",
        "from numpy import load\nload(path)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.SafeLoader)",
        "import yaml\nyaml.full_load(text)",
        "import yaml\nyaml.unsafe_load(text)",
        "import yaml\nclass Mine(yaml.FullLoader): pass",
        "from yaml import unsafe_load",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "import builtins\nbuiltins.exec(text)",
        "__import__(name)",
        "import importlib\nimportlib.import_module(name)",
        "from importlib import import_module\nimport_module(name)",
        "import hydra\nhydra.utils.instantiate(config)",
        "from hydra.utils import instantiate",
        "from hydra.utils import get_class as chosen",
        "import hydra.utils\nhydra.utils.call(config)",
        "from hydra import utils\nutils.get_object(name)",
        "from hydra.utils import get_method",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess\nsubprocess.run(text, shell=wanted)",
        "import os\nos.system(text)",
        "from os import system",
        "import os as o\no.popen(text)",
        "import tarfile\ntarfile.open(path).extractall()",
        "import shutil\nshutil.unpack_archive(path)",
        "Model.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_the_rule_bites(code: str) -> None:
    assert offences(code)


def test_the_rule_lets_live() -> None:
    code = (
        "import torch, numpy as np, yaml, subprocess\nmodel.eval()\n"
        "torch.load(path, map_location='cpu', weights_only=True)\n"
        "np.load(path, mmap_mode='r', allow_pickle=False)\n"
        "yaml.safe_load(text)\nsubprocess.run(['ffmpeg'], check=False)\n"
        "class Mine(yaml.SafeLoader): pass"
    )
    assert offences(code) == []
    importing = "from importlib import import_module\nimport_module('x')"
    assert offences(importing, imports_allowed=True) == []


def test_settings_of_the_package_name_no_code() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        text = path.read_text()
        assert "_target_" not in text, path
        assert "oc.env" not in text, path
