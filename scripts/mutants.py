"""Counts the small faults that the tests let through: `mutants.py --count 150 --seed 0`.

A mutant is the package with one small fault: a comparison, an operator, a constant, a returned
value or a statement that is not what it should be. Each one is written into a copy of the
repository, where the tests of its area run until one fails; the working tree is never touched.
Prints, area by area, how many were noticed, and the ones that were not.

The copy's tests run in a fork of this process, which has imported torch and the other libraries
already. A first run, without a fault, notes which functions each test calls: a fault inside a
function runs only the tests that call it, one outside of all functions those that import its
module, the quick ones first.

Not drawn, since no test should notice them: texts and messages, type hints, assertions,
decorators, `__repr__`, abstract methods, branches for a GPU, and the arguments in UNNOTICEABLE.
Some of the rest change nothing either (a limit of speed or memory, `<` for `<=` where both sides
agree), so that 100 % is no goal.
"""

import argparse
import ast
import compileall
import contextlib
import importlib
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from py_compile import PycInvalidationMode
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCORING = "measure metrics scorer regions seams references"
AREAS = {
    "patching": ["patching/**/*.py"],
    "data": ["data/**/*.py"],
    "loss": ["loss/**/*.py"],
    "streaming": ["model/streaming/**/*.py"],
    "model": ["model/**/*.py"],
    "trainer": ["trainer/**/*.py"],
    "scoring": [f"evaluation/{name}.py" for name in SCORING.split()],
    "latents": ["latents/**/*.py"],
    "runtime": ["runtime/**/*.py"],
}
"""Modules of each area below vae3d/; one that fits several belongs to the first."""
NOT_ASKED = ("faults/", "commands/", "security/test_privacy.py")
"""Tests that are too slow to ask, for what they look at is processes from start to end."""
SECONDS = 40.0
"""Seconds that the tests of one mutant may take together; beyond it the longest are left out."""
MEMORY = 12 * 2**30
"""Bytes that a faulty process may take."""

COMPARISONS: dict[type[ast.cmpop], list[type[ast.cmpop]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
}
SWAPS = {"min": "max", "amin": "amax", "minimum": "maximum", "floor": "ceil", "any": "all"}
SWAPS |= {new: old for old, new in SWAPS.items()}
DROPPED = {"abs", "abs_", "clamp", "clamp_", "square", "sqrt", "exp", "detach", "float", "double"}
DROPPED |= {"sorted", "reversed", "round"}
"""Calls that may be left out: `x.abs()` becomes `x`."""
SPOKEN = {"say", "announce", "print", "warn", "info", "warning", "debug"}
"""Calls that print or log."""
UNNOTICEABLE = {"strict", "non_blocking", "maxsize", "indent", "exist_ok", "missing_ok"}
UNNOTICEABLE |= {"ignore_errors", "compresslevel", "bufsize", "stacklevel"}
"""Keyword arguments that change no result."""
RETURNED = {"bool": "not ({})", "int": "({}) + 1", "float": "({}) * 2", "Tensor": "-({})"}
"""What is returned instead, by the type; None instead of any other."""
STARTERS = {"_execute_child", "_launch", "spawnv_passfds"}
"""Functions of the standard library that start a process, whose calls are not seen."""

Place = tuple[str, int]
"""A function, by its module and first line."""
ANYTHING: Place = ("", 0)
"""Noted of a test that starts processes: it may call anything."""


@dataclass(frozen=True)
class Mutant:
    """A fault: `old` at bytes `start` to `end` of a module becomes `new`.

    `function` is the first line of the function around it, 0 outside of all.
    """

    area: str
    path: str
    line: int
    function: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.path}:{self.line}: {old} -> {new}"

    def apply(self, source: bytes) -> bytes:
        """The module's source with the fault."""
        return source[: self.start] + self.new.encode() + source[self.end :]


@dataclass
class Baseline:
    """Of each test without a fault: its seconds, and the functions that it calls."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, set[Place]] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line."""
        calls = {test: sorted(places) for test, places in self.calls.items()}
        return json.dumps({"seconds": self.seconds, "calls": calls})

    @classmethod
    def from_json(cls, text: str) -> "Baseline":
        """What `to_json` wrote."""
        values = json.loads(text)
        calls = {test: {*map(tuple, places)} for test, places in values["calls"].items()}
        return cls(values["seconds"], calls)

    def chosen(self, mutant: Mutant) -> dict[str, float]:
        """The tests of its area that may notice a mutant, and their seconds, the quick ones."""
        files, place = tests_of(mutant.area), (mutant.path, mutant.function)
        near = tests_importing(mutant.path) & {*files} or files
        found: dict[str, float] = {}
        left = SECONDS
        for test, seconds in sorted(self.seconds.items(), key=lambda item: item[1]):
            file = test.split("::")[0]
            called = self.calls[test] & {place, ANYTHING} if mutant.function else file in near
            if called and file in files:
                left -= seconds
                if left < 0:
                    break
                found[test] = seconds
        return found


def main() -> int:
    """Draws, tests and reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=150, help="mutants drawn (150)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws others (0)")
    parser.add_argument("--area", choices=AREAS, action="append", help="one area, repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="tested at the same time (1)")
    arguments = parser.parse_args()
    areas = arguments.area or [*AREAS]
    known = [mutant for area in areas for mutant in mutants_of(area)]
    drawn = random.Random(arguments.seed).sample(known, min(arguments.count, len(known)))
    import_libraries()
    with tempfile.TemporaryDirectory() as work:
        slots = [copy_repository(Path(work) / str(job)) for job in range(arguments.jobs)]
        files = {file for area in {m.area for m in drawn} for file in tests_of(area)}
        baseline = find_baseline(sorted(files), slots)
        survivors = test_mutants(drawn, baseline, slots)
    report(drawn, survivors)
    return 0


def report(drawn: Sequence[Mutant], survivors: Sequence[Mutant]) -> None:
    """Prints noticed/total by area, and the survivors."""
    total, let_through = (Counter(m.area for m in mutants) for mutants in (drawn, survivors))
    for area, count in sorted(total.items()):
        print_line(f"{area:10s} {count - let_through[area]}/{count}")
    noticed = len(drawn) - len(survivors)
    print_line(f"{'all':10s} {noticed}/{len(drawn)} ({noticed / max(len(drawn), 1):.1%})")
    for mutant in sorted(survivors, key=lambda m: (m.path, m.line)):
        print_line(str(mutant))


def print_line(text: str) -> None:
    """Writes a line at once, so that a long run shows where it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# What can be wrong


def modules_of(area: str) -> list[Path]:
    """The modules of an area, below the repository."""
    owner: dict[Path, str] = {}
    for name, patterns in AREAS.items():
        for pattern in patterns:
            for path in sorted((ROOT / "vae3d").glob(pattern)):
                owner.setdefault(path, name)
    return [path for path, name in owner.items() if name == area]


def mutants_of(area: str) -> list[Mutant]:
    """All mutants of an area."""
    return [mutant for path in modules_of(area) for mutant in Collector(area, path).found]


class Collector(ast.NodeVisitor):
    """Finds every mutant of a module."""

    def __init__(self, area: str, path: Path) -> None:
        self.area = area
        self.path = str(path.relative_to(ROOT))
        self.source = path.read_bytes()
        lines = self.source.splitlines(keepends=True)
        self.offsets = [0]
        for line in lines:
            self.offsets.append(self.offsets[-1] + len(line))
        self.function = 0
        self.returned = ""
        self.found: list[Mutant] = []
        self.visit(ast.parse(self.source))

    def add(self, node: ast.expr | ast.stmt, new: str) -> None:
        """Notes that a node may become `new`."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.offsets[node.lineno - 1] + node.col_offset
        end = self.offsets[node.end_lineno - 1] + node.end_col_offset
        old = self.source[start:end].decode()
        place = (self.area, self.path, node.lineno, self.function, start, end)
        self.found.append(Mutant(*place, old, new))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in ("__repr__", "__str__"):
            return
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        outer = self.function, self.returned
        self.function = min([node.lineno, *(d.lineno for d in node.decorator_list)])
        self.returned = ast.unparse(node.returns) if node.returns else ""
        for statement in node.body:
            self.visit(statement)
        self.function, self.returned = outer

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value and not (isinstance(node.target, ast.Name) and node.target.id == "__all__"):
            self.visit(node.value)

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass

    def visit_Raise(self, node: ast.Raise) -> None:
        if node.exc is None or "NotImplementedError" not in ast.unparse(node.exc):
            self.add(node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add(node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.add(node, "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            if name_of(node.value) in SPOKEN:
                return
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if isinstance(node.targets[0], ast.Attribute | ast.Subscript):
            self.add(node, "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.add(node, "pass")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        instead = RETURNED.get(self.returned)
        if instead:
            self.add(node.value, instead.format(ast.unparse(node.value)))
        elif not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.add(node.value, "None")
        self.visit(node.value)

    def visit_If(self, node: ast.If) -> None:
        self._negate(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node)

    def _negate(self, node: ast.If | ast.IfExp | ast.While) -> None:
        condition = ast.unparse(node.test)
        if "cuda" in condition or "'cpu'" in condition or "TYPE_CHECKING" in condition:
            return
        if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            self.add(node.test, f"(not {condition})")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            for other in COMPARISONS[type(operator)]:
                changed = [*node.ops]
                changed[place] = other()
                self.add(
                    node, f"({ast.unparse(ast.Compare(node.left, changed, node.comparators))})"
                )
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.add(node, f"({ast.unparse(ast.BoolOp(other, node.values))})")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self.add(node, f"({ast.unparse(node.operand)})")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if not (is_text(node.left) or is_text(node.right)):
            other = OPERATORS.get(type(node.op))
            if other:
                self.add(node, f"({ast.unparse(ast.BinOp(node.left, other(), node.right))})")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add(node, str(not node.value))
        elif isinstance(node.value, int | float):
            new = {node.value + 1, node.value - 1, node.value * 2} - {node.value}
            for value in sorted(new):
                self.add(node, f"({value})")

    def visit_Call(self, node: ast.Call) -> None:
        name = name_of(node)
        if name in SPOKEN | {"TypeVar", "cast"}:
            return
        if name in SWAPS:
            self.add(node.func, ast.unparse(node.func).removesuffix(name) + SWAPS[name])
        if name in DROPPED and isinstance(node.func, ast.Attribute):
            self.add(node, ast.unparse(node.func.value))
        elif name in DROPPED and len(node.args) == 1:
            self.add(node, f"({ast.unparse(node.args[0])})")
        self.visit(node.func)
        for argument in node.args:
            self.visit(argument)
        for word in node.keywords:
            if word.arg not in UNNOTICEABLE:
                self.visit(word.value)


def name_of(call: ast.Call) -> str:
    """The last name of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def is_text(node: ast.expr) -> bool:
    """Whether an operand is a string, so that another operator would be an error anyway."""
    text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return text or isinstance(node, ast.JoinedStr)


# Who looks


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


def import_libraries() -> None:
    """Imports what package and tests import of others, once for all forks."""
    files = [*(ROOT / "vae3d").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    names = {name for path in files for name in imports_of(path)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(names):
            if name.split(".")[0] not in ("vae3d", "tests", "vae3d2d"):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


def copy_repository(folder: Path) -> Path:
    """A copy that faults are written into."""
    skip = shutil.ignore_patterns(".*", "__pycache__", "runs", "stores", "wandb", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=skip)
    # Compared by contents: two faults of one size within a second must not be taken for the same.
    mode = PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(folder / "vae3d", quiet=2, invalidation_mode=mode)
    return folder


class Watcher:
    """A pytest plugin that notes the seconds of each test and the functions that it calls."""

    def __init__(self, folder: Path) -> None:
        self.baseline = Baseline()
        self.root = f"{folder}/"
        self.package = f"{folder}/vae3d/"
        self.shared: dict[str, set[Place]] = defaultdict(set)
        self.own: dict[str, set[Place]] = {}
        # Until a test runs, calls are those of imports: they belong to all tests.
        self.now = self.shared[""]

    def trace(self, frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if code.co_filename.startswith(self.package):
            self.now.add((code.co_filename[len(self.root) :], code.co_firstlineno))
        elif code.co_name in STARTERS:
            self.now.add(ANYTHING)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # A fixture may be made for the first test and serve the others of its file.
        self.now = self.shared[item.nodeid.split("::")[0]]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        self.now = self.own[item.nodeid] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.baseline.seconds[report.nodeid] += math.inf if report.failed else report.duration

    def pytest_sessionfinish(self) -> None:
        for test in self.baseline.seconds:
            shared = self.shared[test.split("::")[0]]
            calls = self.own.get(test, set()) | shared | self.shared[""]
            self.baseline.calls[test] = calls


class Chooser:
    """A pytest plugin that runs the chosen tests only, files that take less time first."""

    def __init__(self, chosen: dict[str, float]) -> None:
        self.chosen = chosen
        self.files: dict[str, float] = defaultdict(float)
        for test, seconds in chosen.items():
            self.files[test.split("::")[0]] += seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid in self.chosen]
        items.sort(key=lambda item: self.files[item.nodeid.split("::")[0]])


def find_baseline(files: Sequence[str], slots: Sequence[Path]) -> Baseline:
    """Runs test files without a fault; a test that fails even so is left out.

    Raises:
        RuntimeError: a file cannot be run.
    """
    found = Baseline()

    def watch(file: str, slot: Path) -> int:
        watcher = Watcher(slot)
        threading.settrace(watcher.trace)
        sys.settrace(watcher.trace)
        status = run_pytest(slot, [file], watcher)
        sys.settrace(None)
        (slot / "baseline.json").write_text(watcher.baseline.to_json())
        return 0 if status == pytest.ExitCode.TESTS_FAILED else status

    def take(file: str, slot: Path, status: int) -> None:
        if status:
            raise RuntimeError(f"{file} cannot be run:\n{log_of(slot)}")
        part = Baseline.from_json((slot / "baseline.json").read_text())
        found.seconds.update(part.seconds)
        found.calls.update(part.calls)
        seconds = sum(s for s in part.seconds.values() if s < math.inf)
        print_line(f"{file}: {len(part.seconds)} tests, {seconds:.0f} s without a fault")
        for test, seconds in part.seconds.items():
            if seconds == math.inf:
                print_line(f"left out, since it fails without a fault: {test}")

    run_forked(files, slots, watch, take, lambda area: 3600)
    return found


def test_mutants(
    drawn: Sequence[Mutant], baseline: Baseline, slots: Sequence[Path]
) -> list[Mutant]:
    """Runs the tests of each mutant; the mutants that all of them let through."""
    sources = {mutant.path: (ROOT / mutant.path).read_bytes() for mutant in drawn}
    survivors: list[Mutant] = []

    def attack(mutant: Mutant, slot: Path) -> int:
        chosen = baseline.chosen(mutant)
        if not chosen:
            return 0
        (slot / mutant.path).write_bytes(mutant.apply(sources[mutant.path]))
        files = sorted({test.split("::")[0] for test in chosen})
        return run_pytest(slot, ["-x", *files], Chooser(chosen))

    def take(mutant: Mutant, slot: Path, status: int) -> None:
        (slot / mutant.path).write_bytes(sources[mutant.path])
        if not status:
            survivors.append(mutant)
        print_line(f"{'noticed' if status else 'let through'}  {mutant}")

    def limit(mutant: Mutant) -> int:
        return 20 + int(4 * sum(baseline.chosen(mutant).values()))

    run_forked(drawn, slots, attack, take, limit)
    return survivors


def run_forked(
    tasks: Sequence[Any],
    slots: Sequence[Path],
    work: Callable[[Any, Path], int],
    take: Callable[[Any, Path, int], None],
    limit: Callable[[Any], int],
) -> None:
    """Calls `work(task, slot)` in a fork for each task, then `take(task, slot, status)` here.

    A status other than 0 is an error, an end by a signal, or more than `limit(task)` seconds.
    """
    free, running = [*slots], {}
    waiting: Iterator[Any] = iter(tasks)
    while True:
        for task in waiting:
            slot = free.pop()
            child = os.fork()
            if not child:
                in_fork(partial(work, task, slot), slot, limit(task))
            running[child] = task, slot
            if not free:
                break
        if not running:
            return
        child, status = os.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        task, slot = running.pop(child)
        free.append(slot)
        take(task, slot, status)


def in_fork(work: Callable[[], int], slot: Path, seconds: int) -> None:
    """Ends this process with the status that `work` returns, or by a signal when time is up."""
    status = 1
    try:
        os.setsid()
        signal.alarm(seconds)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        log = os.open(slot / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(slot)
        os.environ |= {"PYTHONPATH": str(slot), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        sys.path.insert(0, str(slot))
        # A process that a test spawns would import this script.
        vars(sys.modules["__main__"]).pop("__file__", None)
        status = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(min(status, 255))


def run_pytest(slot: Path, arguments: Sequence[str], plugin: object) -> int:
    """The exit status of pytest in a copy; hypothesis draws the same examples each time."""
    import hypothesis

    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutants", derandomize=True, database=None, deadline=None, phases=phases
    )
    hypothesis.settings.load_profile("mutants")
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "-m",
        "not slow and not gpu and not faults",
    ]
    options += ["--basetemp", str(slot.parent / f"{slot.name}.tmp"), "--rootdir", str(slot)]
    status = int(pytest.main([*options, *arguments], plugins=[plugin]))
    # No test that runs is no test that notices.
    return 0 if status == pytest.ExitCode.NO_TESTS_COLLECTED else status


def log_of(slot: Path) -> str:
    """The end of what the last run in a copy printed."""
    return (slot / "log").read_text(errors="replace")[-3000:]


if __name__ == "__main__":
    sys.exit(main())
