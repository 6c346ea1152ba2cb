"""Which error paths and branches of schemas, producers and workers the tests take.

    python -m pytest -p tests.error_paths [-n auto] tests/unit tests/contract

A pytest plugin, as `make paths` runs it. It loads those modules with a mark set in every error
path: in each `except` clause and each block within one, before each `raise`, and before each line
that logs a warning or worse. At the end a path that no test took fails the run, unless `UNTAKEN`
says why none can. Only paths taken in the processes of the tests count, not in those they start.

The same run tells how many branches were taken: each way that an `if`, a loop, a `match` or an
`except` can go, also the way past it.
"""

import ast
import builtins
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = frozenset(
    path
    for name in ("schemas", "producers", "workers")
    for path in (ROOT / name / "sharpwave").rglob("*.py")
)
_MARK, _BRANCH = "__error_path__", "__branch__"
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LOGS = frozenset({"warning", "error", "exception", "critical"})

#: Paths that no test takes, each with the reason.
UNTAKEN: dict[str, str] = {}

taken: set[str] = set()
branches_taken: set[str] = set()


class _Marker(ast.NodeVisitor):
    """Names the error paths of a module, and sets a mark at the start of each."""

    def __init__(self, module: str) -> None:
        self._module, self._scope = module, list[str]()
        self._numbers: Counter[str] = Counter()
        self._caught = 0
        self.names: list[str] = []
        self.branches: list[str] = []

    def visit(self, node: ast.AST) -> None:
        """Visit a node, and mark the blocks it holds."""
        scope = getattr(node, "name", None) if isinstance(node, _SCOPES) else None
        if scope:
            self._scope.append(scope)
        self._caught += isinstance(node, ast.ExceptHandler)
        for field in ("body", "orelse", "finalbody", "handlers"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                self._mark(node, field, block)
        for child in ast.iter_child_nodes(node):
            self.visit(child)
        self._branch(node)
        self._caught -= isinstance(node, ast.ExceptHandler)
        if scope:
            self._scope.pop()

    def _mark(self, holder: ast.AST, field: str, block: list[Any]) -> None:
        if field == "handlers":
            return
        marked = []
        for place, statement in enumerate(block):
            opens = place == 0 and self._caught and not isinstance(holder, ast.Try | ast.With)
            if opens or isinstance(statement, ast.Raise) or _logs(statement):
                marked.append(self._named(_title(holder, field) if opens else "", statement))
            marked.append(statement)
        block[:] = marked

    def _named(self, title: str, statement: ast.stmt) -> ast.stmt:
        what = title or ast.unparse(statement).partition("\n")[0]
        name = f"{self._module} {'.'.join(self._scope)}: {what[:90]}"
        self._numbers[name] += 1
        if self._numbers[name] > 1:
            name += f" ({self._numbers[name]})"
        self.names.append(name)
        return _call(_MARK, name, statement)

    def _branch(self, node: ast.AST) -> None:
        """Mark where each way through a statement begins; its error paths are marked by now."""
        ways: list[list[ast.stmt]] = []
        match node:
            case ast.If() | ast.For() | ast.AsyncFor():
                ways = [node.body, node.orelse]
            case ast.While():
                is_endless = isinstance(node.test, ast.Constant)
                ways = [node.body] if is_endless else [node.body, node.orelse]
            case ast.ExceptHandler():
                ways = [node.body]
            case ast.Match():
                if not any(_takes_all(case) for case in node.cases):
                    node.cases.append(ast.match_case(ast.MatchAs(), body=[]))
                ways = [case.body for case in node.cases]
        for number, way in enumerate(ways):
            name = f"{self._module}:{getattr(node, 'lineno', 0)}.{number}"
            self.branches.append(name)
            way.insert(0, _call(_BRANCH, name, node))
        if ways:
            ast.fix_missing_locations(node)


def _call(function: str, name: str, place: ast.AST) -> ast.stmt:
    call = ast.Expr(ast.Call(ast.Name(function, ast.Load()), [ast.Constant(name)], []))
    return ast.fix_missing_locations(ast.copy_location(call, place))


def _takes_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and not case.pattern.pattern


def _title(holder: ast.AST, field: str) -> str:
    if isinstance(holder, ast.ExceptHandler):
        return f"except {ast.unparse(holder.type) if holder.type else ''}".rstrip()
    head = ast.unparse(holder).partition("\n")[0]
    return head if field == "body" else f"else of {head}"


def _logs(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("log" | "logger"), level))):
            return level in _LOGS
    return False


def marked(path: Path, source: str | bytes) -> tuple[ast.Module, Sequence[str], Sequence[str]]:
    """Parse a module and set the marks; name its error paths and its branches."""
    tree = ast.parse(source, filename=str(path))
    marker = _Marker(str(path.relative_to(ROOT)).split("/sharpwave/", 1)[1].removesuffix(".py"))
    marker.visit(tree)
    return tree, marker.names, marker.branches


@cache
def every() -> frozenset[str]:
    """Name every error path there is."""
    return frozenset(name for path in SOURCES for name in marked(path, path.read_bytes())[1])


@cache
def branches() -> Mapping[str, frozenset[str]]:
    """Name every branch there is, by package."""
    found: dict[str, set[str]] = {}
    for path in SOURCES:
        found.setdefault(path.relative_to(ROOT).parts[0], set()).update(
            marked(path, path.read_bytes())[2]
        )
    return {package: frozenset(names) for package, names in sorted(found.items())}


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        # Never from or to the cache of bytecode, which others share.
        path = self.get_filename(fullname)
        tree, *_ = marked(Path(path), self.get_data(path))
        return compile(tree, path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("sharpwave.") or path is None:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin and Path(spec.origin) in SOURCES:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


setattr(builtins, _MARK, taken.add)
setattr(builtins, _BRANCH, branches_taken.add)
sys.meta_path.insert(0, _Finder())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand what this process took to the one that judges, or judge."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["error_paths"], output["branches"] = sorted(taken), sorted(branches_taken)
    elif list(_faults()) and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a process of pytest-xdist took."""
    output = getattr(node, "workeroutput", {})
    taken.update(output.get("error_paths", ()))
    branches_taken.update(output.get("branches", ()))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say which paths no test took, and what share of the branches was taken."""
    for fault in _faults():
        terminalreporter.write_line(fault)
    terminalreporter.write_line(f"{len(taken & every())} of {len(every())} error paths were taken")
    for package, names in branches().items():
        number = len(names & branches_taken)
        share = f"{100 * number / len(names):.1f} %"
        terminalreporter.write_line(f"{package}: {number} of {len(names)} branches, {share}")


def _faults() -> Iterator[str]:
    known = every()
    yield from (f"no test takes {name}" for name in sorted(known - taken - UNTAKEN.keys()))
    yield from (f"there is no such error path: {name}" for name in sorted(UNTAKEN.keys() - known))
