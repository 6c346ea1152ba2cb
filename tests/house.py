"""How large the house is, how its rooms hang together, and how far a signal walks through it.

    python -m tests.house [--json] [root]

A package is what the wheel takes in; a room is a folder directly below a package, with all that
lies in it, and a package's flat modules are one room as well. Sizes and imports are read from the
sources. The two walks are measured, not derived: the documented Lambda function and a worker run
on AWS's own clients, whose requests `tests.walks` answers.

Branch coverage of schemas, producers and workers: `make paths` prints it for each of them.
"""

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).parent.parent
_PRAGMA = re.compile(r"#\s*(noqa|type:|pragma|mypy:|pyright:|ruff:|fmt:|!)")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: as it is imported.
        room: its folder below its package, as `workers/pump`; of a flat module the package.
    """

    path: Path
    name: str
    room: str

    @property
    def is_flat(self) -> bool:
        """Say whether it lies directly in its package; `__init__` makes the package."""
        return "/" not in self.room and self.path.name != "__init__.py"

    @cached_property
    def text(self) -> str:
        """Give the source."""
        return self.path.read_text()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """Give everything in it."""
        return list(ast.walk(ast.parse(self.text)))

    @property
    def lines(self) -> int:
        """Count all lines, as `wc` does."""
        return len(self.text.splitlines())

    @property
    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Give functions and methods, also those within others."""
        return [node for node in self.nodes if isinstance(node, _FUNCTIONS)]

    @property
    def comments(self) -> int:
        """Count lines of comments that speak to people."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        found = [token.string for token in tokens if token.type == tokenize.COMMENT]
        return sum(not _PRAGMA.match(comment) for comment in found)

    def imports(self, known: Mapping[str, "Module"]) -> set[str]:
        """Name those of the known modules that it imports, wherever in its text."""
        found: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                found.update(name if name in known else node.module for name in inner)
        return (found & known.keys()) - {self.name}


def packages(root: Path) -> list[Path]:
    """Give the folder of every package of the wheel, `workers/sharpwave/workers` and so on."""
    build = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    portions = [root / portion for portion in build["targets"]["wheel"]["packages"]]
    return [portion / portion.parent.name for portion in portions]


def read(folder: Path, *, prefix: str = "") -> list[Module]:
    """Read the modules in and below a folder."""
    modules = []
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        name = ".".join([prefix, *parts]).strip(".").removesuffix(".__init__")
        modules.append(Module(path, name, "/".join([folder.name, *parts[:-1][:1]])))
    return modules


def measure(root: Path) -> dict[str, Any]:
    """Measure the wheel and the tests below a root; everything but the walks."""
    folders = packages(root)
    wheel = [
        module
        for folder in folders
        for module in read(folder, prefix=f"{folder.parent.name}.{folder.name}")
    ]
    tests = read(root / "tests") if (root / "tests").is_dir() else []
    lines = sum(module.lines for module in wheel)
    return {
        "wheel": {"lines": lines, "files": len(wheel)},
        "packages": _sizes((module.room.partition("/")[0], module) for module in wheel),
        "rooms": _sizes((module.room, module) for module in wheel),
        "tests": _sizes((module.room, module) for module in tests),
        "flat": {folder.name: _flat(folder.name, wheel) for folder in folders},
        "functions": _functions(wheel),
        "comments_per_100_lines": 100 * sum(module.comments for module in wheel) / (lines or 1),
        "imports": _arrows(wheel),
    }


def _sizes(named: Iterable[tuple[str, Module]]) -> dict[str, dict[str, int]]:
    sizes: dict[str, dict[str, int]] = {}
    for name, module in named:
        size = sizes.setdefault(name, {"lines": 0, "files": 0})
        size["lines"] += module.lines
        size["files"] += 1
    return dict(sorted(sizes.items()))


def _flat(package: str, wheel: list[Module]) -> dict[str, int]:
    """Count the modules that lie flat in a package, and the imports of one by another."""
    flat = {module.name: module for module in wheel if module.is_flat and module.room == package}
    return {"modules": len(flat), "arrows": sum(len(each.imports(flat)) for each in flat.values())}


def _functions(wheel: list[Module]) -> dict[str, Any]:
    """Count functions, their lengths, and the private ones that one place alone uses.

    A private name is looked for in its own module, and in what others import by name, an import
    being one place. Where several of one module share a name, as methods do, each is used once if
    the name is used as often as it is given.
    """
    imported = Counter(
        f"{node.module}.{alias.name}"
        for module in wheel
        for node in module.nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    )
    lengths: list[int] = []
    private = once = 0
    longest = (0, "")
    for module in wheel:
        used = Counter(_names(module))
        given = Counter(function.name for function in module.functions)
        for function in module.functions:
            lengths.append((function.end_lineno or 0) - function.lineno + 1)
            longest = max(longest, (lengths[-1], f"{module.name}.{function.name}"))
        for name, times in given.items():
            if name.startswith("_") and not name.startswith("__"):
                private += times
                uses = used[name] + imported[f"{module.name}.{name}"]
                once += times if uses == times else 0
    return {
        "all": len(lengths),
        "private": private,
        "private_used_once": once,
        "private_used_once_percent": 100 * once / (len(lengths) or 1),
        "lines_median": median(lengths or [0]),
        "lines_p90": quantiles(lengths, n=10)[-1] if len(lengths) > 1 else sum(lengths),
        "lines_max": longest[0],
        "longest": longest[1],
    }


def _names(module: Module) -> Iterator[str]:
    """Name what a module reads, plain or as an attribute."""
    for node in module.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.id if isinstance(node, ast.Name) else node.attr


def _arrows(wheel: list[Module]) -> dict[str, Any]:
    known = {module.name: module for module in wheel}
    modules: dict[str, set[str]] = {each.name: each.imports(known) for each in wheel}
    rooms: dict[str, set[str]] = {}
    crossing = 0
    for name, targets in modules.items():
        begin = known[name].room
        ends = [known[target].room for target in targets if known[target].room != begin]
        crossing += len(ends)
        rooms.setdefault(begin, set()).update(ends)
    return {
        "between_modules": sum(map(len, modules.values())),
        "between_modules_of_rooms": crossing,
        "between_rooms": sum(map(len, rooms.values())),
        "rooms": {name: sorted(ends) for name, ends in sorted(rooms.items()) if ends},
        "cycles_of_rooms": cycles(rooms),
        "cycles_of_modules": cycles(modules),
    }


def cycles(arrows: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Give the groups in which everything reaches everything, the largest first (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        path.append(name)
        for end in arrows.get(name, ()):
            if end not in order:
                visit(end)
                low[name] = min(low[name], low[end])
            elif end in path:
                low[name] = min(low[name], order[end])
        if low[name] == order[name]:
            group = path[path.index(name) :]
            del path[-len(group) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in arrows:
        if name not in order:
            visit(name)
    return sorted(found, key=len, reverse=True)


def walks(root: Path) -> dict[str, Any]:
    """Let a signal and a decision walk through the product below a root, in a process each."""
    found = {}
    for walk in ("signal", "decision"):
        command = [sys.executable, str(Path(__file__).with_name("walks.py")), walk, str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the walk of a {walk} failed:\n{done.stderr}")
        found[walk] = json.loads(done.stdout)
    return found


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """Give the figures as lines of text."""
    for title in ("packages", "rooms", "tests"):
        yield f"{title:32}{'lines':>8}{'files':>7}"
        for name, size in found[title].items():
            yield f"  {name:30}{size['lines']:8,}{size['files']:7,}"
    wheel, functions, imports = found["wheel"], found["functions"], found["imports"]
    yield f"{'the wheel':32}{wheel['lines']:8,}{wheel['files']:7,}"
    yield ""
    yield (
        f"functions          {functions['all']:,}; private and used once "
        f"{functions['private_used_once']:,} ({functions['private_used_once_percent']:.1f} %)"
    )
    yield (
        f"their lines        median {functions['lines_median']:g}, p90 {functions['lines_p90']:g}, "
        f"max {functions['lines_max']} ({functions['longest']})"
    )
    yield f"comments           {found['comments_per_100_lines']:.2f} per 100 lines"
    for package, flat in found["flat"].items():
        yield (
            f"flat in {package:11}{flat['modules']} modules, {flat['arrows']} imports among them"
        )
    yield (
        f"imports            {imports['between_modules']} between modules, "
        f"{imports['between_modules_of_rooms']} of them cross rooms by "
        f"{imports['between_rooms']} arrows"
    )
    for name, ends in imports["rooms"].items():
        yield f"  {name} -> {', '.join(ends)}"
    for kind in ("rooms", "modules"):
        groups = imports[f"cycles_of_{kind}"]
        yield f"cycles of {kind:9}{len(groups)}"
        yield from (f"  {', '.join(group)}" for group in groups)
    for name, walk in found.get("walks", {}).items():
        yield (
            f"walk of a {name:9}{len(walk['files'])} files, {walk['functions']} functions, "
            f"a chain of {walk['depth']}"
        )
        yield from (f"  {file} ({count})" for file, count in walk["files"].items())
        yield f"  deepest: {' > '.join(walk['chain'])}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=ROOT)
    parser.add_argument("--json", action="store_true", help="print everything as one object")
    options = parser.parse_args()
    root = options.root.resolve()
    found = {**measure(root), "walks": walks(root)}
    print(json.dumps(found, indent=2) if options.json else "\n".join(table(found)))


if __name__ == "__main__":
    main()
