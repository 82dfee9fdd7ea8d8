"""The areas of the package, their modules and their tests."""

import ast
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SCORING = "measure metrics scorer regions seams references"
AREAS = {
    "patching": ["patching/**/*.py"],
    "data": ["data/**/*.py"],
    "loss": ["loss/**/*.py"],
    "streaming": ["streaming/**/*.py"],
    "model": ["model/**/*.py", "layers/**/*.py"],
    "trainer": ["trainer/**/*.py"],
    "scoring": [f"scoring/{name}.py" for name in SCORING.split()],
    "latents": ["latents/**/*.py"],
    "runtime": ["runtime/**/*.py"],
}
"""Modules of each area below vae3d/; one that fits several belongs to the first."""
NOT_ASKED = ("faults/", "commands/", "security/test_privacy.py")
"""Tests that are too slow to ask, for what they look at is processes from start to end."""


def modules_of(area: str) -> list[Path]:
    """The modules of an area, below the repository."""
    owner: dict[Path, str] = {}
    for name, patterns in AREAS.items():
        for pattern in patterns:
            for path in sorted((ROOT / "vae3d").glob(pattern)):
                owner.setdefault(path, name)
    return [path for path, name in owner.items() if name == area]


@lru_cache
def tests_of(area: str) -> list[str]:
    """Test files in folders named like the area's, and those that import from its modules."""
    modules = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in modules_of(area)}
    folders = {module.split(".")[1] for module in modules}
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        name = path.relative_to(ROOT / "tests").as_posix()
        if name.startswith(NOT_ASKED) or "/" not in name:
            continue
        if name.split("/")[0] in folders or modules & imports_of(path):
            found.append(str(path.relative_to(ROOT)))
    return found


@lru_cache
def tests_importing(path: str) -> set[str]:
    """Test files that import from a module."""
    name = path.removesuffix(".py").replace("/", ".")
    found = (test for test in (ROOT / "tests").rglob("test_*.py") if name in imports_of(test))
    return {test.relative_to(ROOT).as_posix() for test in found}


@lru_cache
def imports_of(path: Path) -> set[str]:
    """Names of the modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
