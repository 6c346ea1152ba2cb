"""The backend every test runs against, and the proof that the suite leaves no process behind.

SHARPWAVE_TEST_BACKEND names the backend: `embedded` (the default), `moto`, `localstack` (in
Docker), `localstack-native` (without), or `external` at AWS_ENDPOINT_URL; `embedded+fauxqs` and
`moto+fauxqs` keep their queues apart.
"""

import gc
import os
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from botocore import session as botocore_session
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

from sharpwave.infra.local import (
    Backend,
    BackendUnavailable,
    NativeLocalStackBackend,
    open_backend,
)
from sharpwave.infra.local.environment import ensure_node

# How fast examples are made says how busy the machine is, and nothing of the subject.
settings.register_profile("sharpwave", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sharpwave")
# Each session of botocore reads a megabyte of descriptions; hundreds of tests make one.
botocore_session.create_loader = cache(botocore_session.create_loader)

NODE = Path(__file__).parent / "node"
EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

BACKEND = os.environ.get("SHARPWAVE_TEST_BACKEND", "embedded")
IN_CI = os.environ.get("CI") == "true"

DEVIATIONS = {
    "moto": {
        "batch-statements": "BatchExecuteStatement ignores the conditions of its statements",
        "concurrent-images": "images of concurrent updates of one item lack attributes",
        "fifo-polls": "a long poll that begins while a group is held does not see it let go",
        "idempotency-token": "TransactWriteItems applies a repeated ClientRequestToken again",
        "no-key-of-a-stack": "CloudFormation knows no AWS::KMS::Key",
        "no-queue-policy-of-a-stack": "CloudFormation attaches no policy to a queue",
        "no-op-records": "a write that changes nothing makes a stream record",
        "nothing-kept": "a restart loses tables and queues",
        "stream-again": "a stream that was switched off cannot be switched on again",
    },
    "localstack": {
        "dead-receipts": "a receipt handle that never was is refused as if SQS were at fault",
        "large-records": "a record of more than a megabyte, with every other than an ASCII letter "
        "as six bytes, does not reach the stream",
        "no-cloudformation": "CloudFormation is not among the services that are started",
        "nothing-kept": "a restart loses tables and queues",
        "streams-once": "a stream that was switched off cannot be switched on again",
        "unordered-records": "ten threads put records into the stream, in any order",
    },
}
"""Where a backend is known not to do as AWS does; a test names the one that it meets."""

#: Deviations that show only sometimes.
SOMETIMES = frozenset({"concurrent-images", "unordered-records"})
#: Those that leave behind what later tests would meet, so that their tests do not begin.
LASTING = frozenset({"large-records"})

#: A folder that does not exist: its name in PATH is in the environment of every descendant.
MARK = f"/sharpwave-test-suite-{os.getpid()}"
SURVIVORS_MAY_TAKE_S = 10.0
#: Folders whose tests share a running system: one is started, and not one for each process.
OF_ONE_SYSTEM = frozenset({"tests/integration/flows", "tests/integration/up"})


def pytest_configure(config: pytest.Config) -> None:
    """Mark the processes to come, and declare our marks."""
    os.environ["PATH"] += os.pathsep + MARK
    text = "deviates(backend, name): fails on that backend, for the reason of that name"
    config.addinivalue_line("markers", text)
    config.addinivalue_line("markers", "longest: begin with it, where tests run side by side")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run twice as many processes as there are cores: tests wait for half of their time."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return 2 * cores


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """Keep the tests of one running system in one process, and those of any other file."""
    return _BySystem(config, log) if config.getoption("dist") == "loadfile" else None


class _BySystem(LoadFileScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder in OF_ONE_SYSTEM else file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what is quick, or where tests run side by side with what takes longest.

    A long file begun last would keep all other cores waiting. Expect known deviations.
    """
    items.sort(key=_cost, reverse=hasattr(config, "workerinput"))
    for item in items:
        for mark in item.iter_markers("deviates"):
            backend, name = mark.args
            reason = DEVIATIONS[backend][name]
            if BACKEND.startswith(backend):
                strict = name not in SOMETIMES
                expected = pytest.mark.xfail(
                    reason=f"{backend}: {reason}", strict=strict, run=name not in LASTING
                )
                item.add_marker(expected)


def pytest_collection_finish() -> None:
    """Spare the collector what lives as long as the session: every module, and all tests."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say of which parts a result is."""
    if BACKEND == NativeLocalStackBackend.name:
        storage = NativeLocalStackBackend().storage
        terminalreporter.line(f"LocalStack without Docker; tables are kept by {storage}")


def _cost(item: pytest.Item) -> int:
    if item.get_closest_marker("longest"):
        return 4
    if "unit" in item.path.parts:
        return 0
    fixtures = getattr(item, "fixturenames", ())
    return 3 if "stack" in fixtures else (2 if "fragile" in fixtures else 1)


@pytest.fixture(scope="session", autouse=True)
def no_process_survives() -> Iterator[None]:
    """Fail if a process that descends from this suite is left when everything is torn down."""
    yield
    deadline = time.monotonic() + SURVIVORS_MAY_TAKE_S
    while (left := _processes_with(MARK)) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert not left, f"the suite left processes behind: {left}"


@pytest.fixture(scope="session")
def backend() -> Iterator[Backend]:
    """The running backend. One that cannot run here skips its tests, but fails them in CI."""
    opened = _started()
    if isinstance(opened, str):
        # The default covers the same contract, so a CI without Docker is no fault.
        if IN_CI and not BACKEND.startswith("localstack"):
            pytest.fail(opened)
        pytest.skip(opened)
    with opened:
        yield opened


def _started() -> Backend | str:
    """Start the chosen backend, or say why it cannot run here."""
    with warnings.catch_warnings():
        # Docker's client leaks the socket on which nobody answered.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            opened = open_backend(BACKEND, endpoint_url=os.environ.get("AWS_ENDPOINT_URL"))
            return opened.start()
        except BackendUnavailable as missing:
            reason = str(missing)
        gc.collect()
    return reason


@pytest.fixture
def command_of(tmp_path: Path) -> Callable[[str], list[str | Path]]:
    """Give the command of an example agent; where its language is not at hand, it is skipped."""

    def command(name: str) -> list[str | Path]:
        if name.endswith(".mjs"):
            _need("node", "npm")
            # Node looks for modules beside the script.
            (tmp_path / "node_modules").symlink_to(
                ensure_node("example-agents", NODE) / "node_modules"
            )
            return ["node", shutil.copy(EXAMPLES / name, tmp_path)]
        if name.endswith(".sh"):
            _need("aws", "jq")
            return ["bash", EXAMPLES / name]
        return [sys.executable, EXAMPLES / name]

    return command


def _need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")


@pytest.fixture(scope="session")
def processes_with() -> Callable[[str], dict[int, str]]:
    """List the processes whose environment holds a text, by id, with their commands."""
    return _processes_with


def _processes_with(text: str) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text.encode() in environment:
                found[int(entry.name)] = command
    return found
