"""Dependencies point one way, and heavy libraries stay where they belong."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PORTIONS = ("schemas", "producers", "workers", "infra")
AWS = {"boto3", "botocore", "aiobotocore", "amazondax"}


def modules(portion: str) -> list[Path]:
    return sorted((ROOT / portion / "sharpwave" / portion).rglob("*.py"))


def name_of(path: Path) -> str:
    """Give a module's place within its portion: `aws/tables`."""
    return str(path.relative_to(ROOT)).split("/", 3)[3].removesuffix(".py")


@cache
def imports(path: Path) -> frozenset[str]:
    """Name what a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def own(path: Path) -> set[str]:
    """Name the portions of this project that a module imports."""
    parts = [name.split(".") for name in imports(path)]
    return {part[1] for part in parts if part[0] == "sharpwave" and len(part) > 1}


def within(name: str) -> set[str]:
    """Name the modules of this project that a module of the workers imports."""
    (path,) = (each for each in modules("workers") if name_of(each) == name)
    return {each for each in imports(path) if each in NAMED}


def needed(name: str) -> set[str]:
    """Name all modules of the workers that one of them needs, by way of whatever it imports."""
    found: set[str] = set()
    todo = {name}
    while todo:
        found |= todo
        todo = {NAMED[each] for at in todo for each in within(at)} - found
    return found - {name}


def offenders(portion: str, libraries: set[str], *, allowed: tuple[str, ...]) -> list[str]:
    return [
        name_of(path)
        for path in modules(portion)
        if roots(path) & libraries and not name_of(path).startswith(allowed)
    ]


#: The workers' modules by their full names.
NAMED = {
    f"sharpwave.workers.{name_of(path)}".replace("/", ".").removesuffix(".__init__"): name_of(path)
    for path in modules("workers")
}


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
    allowed = ("actors", "aws/presence", "heap", "main", "sqs/", "telemetry")

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


def test_what_is_for_aws_needs_neither_the_laptop_nor_operators() -> None:
    for path in modules("infra"):
        if name_of(path).startswith("aws/"):
            needed = {name.split(".")[2] for name in imports(path) if name.count(".") > 1}
            assert not needed & {"local", "operate"}, path


def test_what_workers_and_lambda_are_put_together_by_loads_no_pump() -> None:
    code = "import sys, sharpwave.workers.main; print(*sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not [name for name in done.stdout.split() if name.startswith("sharpwave.workers.pump")]


def test_handlers_know_the_world_by_its_ports_only() -> None:
    adapters = {"sharpwave.workers.aws", "sharpwave.workers.pump", "sharpwave.workers.sqs"}
    edges = ("aws/", "pump/", "sqs/", "main")

    for path in modules("workers"):
        if not name_of(path).startswith(edges):
            found = {name for name in imports(path) if name.startswith(tuple(adapters))}
            assert not found, path


@pytest.mark.parametrize(
    ("module", "rooms"),
    [
        ("router/lambda_handler", ("pump/",)),
        ("signals/refusals", ("pump/",)),
        ("aws/queues", ("pump/", "sqs/")),
        ("aws/clients", ("pump/", "sqs/")),
        ("work/ports", ("router/", "signals/", "memory/", "patterns/", "aws/", "pump/", "sqs/")),
    ],
)
def test_a_module_needs_nothing_of_some_rooms_on_any_way(
    module: str, rooms: tuple[str, ...]
) -> None:
    assert {each for each in needed(module) if each.startswith(rooms)} == set()


@pytest.mark.parametrize("room", ["sqs/", "work/"])
def test_a_room_that_all_share_needs_no_other_room(room: str) -> None:
    for path in modules("workers"):
        if name_of(path).startswith(room):
            assert {NAMED[each] for each in within(name_of(path))} <= {
                name for name in NAMED.values() if name.startswith(room)
            }, path


def test_no_room_needs_what_puts_the_rooms_together() -> None:
    flat = {full for full, name in NAMED.items() if "/" not in name}

    for name in NAMED.values():
        assert "/" not in name or not within(name) & flat, name


def test_main_composes_and_nothing_else_does() -> None:
    """It alone knows both the handlers and the adapters, and no worker's module needs it."""
    users = {name: within(name) for name in NAMED.values()}

    assert [name for name, used in users.items() if "sharpwave.workers.main" in used] == []
    assert [name for name, used in users.items() if "sharpwave.workers.actors" in used] == ["main"]


def test_only_settings_and_clients_read_the_environment() -> None:
    edges = ("aws/clients", "settings")

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
    "wanted",
    [
        # In one process each, from what needs least to what needs most.
        {
            "sharpwave.schemas.records": {*AWS, "dramatiq", "msgspec"},
            "sharpwave.workers.router.router": {*AWS, "dramatiq"},
            "sharpwave.workers.router.lambda_handler": {*AWS, "dramatiq"},
            "sharpwave.workers.signals.deliver": {*AWS, "dramatiq"},
        },
        {
            "sharpwave.workers.aws.queues": {"dramatiq", "msgspec"},
            "sharpwave.workers.aws.tables": {"dramatiq", "msgspec"},
        },
        {"sharpwave.producers": {"dramatiq", "aiobotocore", "amazondax", "msgspec", "rich"}},
    ],
    ids=["pure", "aws", "sdk"],
)
def test_importing_a_module_loads_no_library_that_its_users_lack(
    wanted: dict[str, set[str]],
) -> None:
    code = "import sys\n" + "".join(
        f"import {module}; print(*{{name.partition('.')[0] for name in sys.modules}})\n"
        for module in wanted
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    for (module, unwanted), loaded in zip(wanted.items(), done.stdout.splitlines(), strict=True):
        assert not set(loaded.split()) & unwanted, module
