"""Dependencies point one way, and heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PORTIONS = ("schemas", "producers", "workers", "infra")
AWS = {"boto3", "botocore", "aiobotocore", "amazondax"}


def modules(portion: str) -> list[Path]:
    return sorted((ROOT / portion / "sharpwave" / portion).rglob("*.py"))


def name_of(path: Path) -> str:
    """Give a module's place within its portion: `aws/tables`."""
    return str(path.relative_to(ROOT)).split("/", 3)[3].removesuffix(".py")


def imports(path: Path, *, at_import: bool = False) -> Iterator[str]:
    """Name what a module imports; with `at_import` only what importing it loads."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_import else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def own(path: Path) -> set[str]:
    """Name the portions of this project that a module imports."""
    parts = [name.split(".") for name in imports(path)]
    return {part[1] for part in parts if part[0] == "sharpwave" and len(part) > 1}


def offenders(portion: str, libraries: set[str], *, allowed: tuple[str, ...]) -> list[str]:
    return [
        name_of(path)
        for path in modules(portion)
        if roots(path) & libraries and not name_of(path).startswith(allowed)
    ]


def test_the_namespace_has_no_init_of_its_own() -> None:
    for portion in PORTIONS:
        assert (ROOT / portion / "sharpwave" / portion / "__init__.py").is_file()
        assert not (ROOT / portion / "sharpwave" / "__init__.py").exists()


@pytest.mark.parametrize(
    ("portion", "below"),
    [
        ("schemas", {"schemas"}),
        ("producers", {"schemas", "producers"}),
        ("workers", {"schemas", "workers"}),
    ],
)
def test_portions_import_only_what_lies_below(portion: str, below: set[str]) -> None:
    for path in modules(portion):
        assert own(path) <= below, path


def test_schemas_need_pydantic_and_the_standard_library_only() -> None:
    known = {*sys.stdlib_module_names, "sharpwave", "pydantic", "pydantic_core"}

    for path in modules("schemas"):
        assert roots(path) <= known, path


def test_only_the_edges_of_the_workers_know_dramatiq() -> None:
    allowed = ("actors", "presence", "main", "sqs/")

    assert offenders("workers", {"dramatiq"}, allowed=allowed) == []


def test_only_three_rooms_speak_to_aws() -> None:
    allowed = ("aws/", "pump/", "sqs/")

    assert offenders("workers", AWS, allowed=allowed) == []


def test_production_does_not_stand_on_the_laptop() -> None:
    hosts = ("main", "pump/")

    for path in modules("workers"):
        if not name_of(path).startswith(hosts):
            found = [name for name in imports(path) if name.startswith("sharpwave.workers.pump")]
            assert found == [], path


def test_handlers_know_the_world_by_its_ports_only() -> None:
    adapters = {"sharpwave.workers.aws", "sharpwave.workers.pump", "sharpwave.workers.sqs"}
    edges = ("aws/", "pump/", "sqs/", "main", "router/lambda_handler")

    for path in modules("workers"):
        if not name_of(path).startswith(edges):
            found = {name for name in imports(path) if name.startswith(tuple(adapters))}
            assert not found, path


def test_only_main_settings_and_clients_read_the_environment() -> None:
    edges = ("main", "settings", "aws/clients")

    for portion in ("schemas", "workers"):
        for path in modules(portion):
            text = path.read_text()
            if not name_of(path).startswith(edges):
                assert "os.environ" not in text, path
                assert "getenv" not in text, path


def test_the_product_imports_nothing_of_its_tests() -> None:
    for portion in PORTIONS:
        for path in modules(portion):
            assert "tests" not in roots(path), path


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("sharpwave.schemas.records", {*AWS, "dramatiq", "msgspec"}),
        ("sharpwave.producers", {"dramatiq", "aiobotocore", "amazondax", "msgspec", "rich"}),
        ("sharpwave.workers.router.router", {*AWS, "dramatiq"}),
        ("sharpwave.workers.signals.deliver", {*AWS, "dramatiq"}),
        ("sharpwave.workers.aws.queues", {"dramatiq", "msgspec"}),
        ("sharpwave.workers.aws.tables", {"dramatiq", "msgspec"}),
        ("sharpwave.workers.router.lambda_handler", {*AWS, "dramatiq"}),
    ],
)
def test_importing_a_module_loads_no_library_that_its_users_lack(
    module: str, unwanted: set[str]
) -> None:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not set(done.stdout.split()) & unwanted


@pytest.mark.parametrize(
    "module",
    ["router.lambda_handler", "signals.parking", "aws.queues", "aws.clients"],
)
def test_what_a_lambda_host_needs_loads_nothing_of_the_pump(module: str) -> None:
    code = f"import sys, sharpwave.workers.{module}; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not [name for name in done.stdout.split() if name.startswith("sharpwave.workers.pump")]
