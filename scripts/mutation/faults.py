"""`Mutant`: a small fault of a module; `mutants_of` finds all of an area."""

import ast
from dataclasses import dataclass
from pathlib import Path

from mutation.areas import ROOT, modules_of

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
