"""A command that lacks an optional part names it at once, and nothing is started first."""

import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sharpwave.infra import cli
from sharpwave.infra.cli import extras
from sharpwave.workers import sqs

PYPROJECT = Path(__file__).parents[4] / "pyproject.toml"
#: Makes this Python one in which these modules are not installed.
HIDDEN = """
import sys
names = sys.argv.pop(1).split(",")
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        hidden = name.partition(".")[0] in names
        return None if hidden else self.finder.find_spec(name, path, target)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


MAIN = "from sharpwave.infra.cli import main\nsys.exit(main())"
#: Runs several commands, one after the other, and tells what each said, as JSON.
MANY = """
import contextlib, io, json
from sharpwave.infra.cli import main
said = []
for line in sys.argv[1:]:
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        code = main([*line.split(), "--endpoint-url", "http://127.0.0.1:9"])
    said.append([code, errors.getvalue()])
print(json.dumps(said))
"""
BARE = "dramatiq,msgspec,pydantic_settings,rich,aiobotocore,amazondax,matplotlib"


def run(program: str, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HIDDEN + program, *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize(
    ("missing", "argv", "remedy"),
    [
        (("rich", "dramatiq"), ["up"], "(rich, dramatiq) is not installed; run: pip install"),
        (("rich",), ["up"], "'sharpwave[local]'"),
        (("matplotlib",), ["demo"], "'sharpwave[demo]'"),
        (("dramatiq",), ["pump"], "'sharpwave[workers]'"),
        (("msgspec",), ["workers", "run", "deliver"], "'sharpwave[workers]'"),
    ],
)
def test_what_starts_processes_asks_for_its_extra_before_any_is_started(
    missing: tuple[str, ...],
    argv: list[str],
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name in missing else name)

    assert cli.main(argv) == 1

    shown = capsys.readouterr()
    [line] = shown.err.splitlines()
    assert shown.out == ""
    assert remedy in line
    assert "unexpected" not in line


def test_what_is_missed_on_the_way_is_named_with_its_extra() -> None:
    done = run(MAIN, "msgspec", "doctor")

    [line] = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.endswith("(msgspec) is not installed; run: pip install 'sharpwave[workers]'")


def test_a_bare_install_names_the_extra_that_a_command_needs() -> None:
    extras = {
        "cost": "workers",
        "verify": "workers",
        "replay": "workers",
        "patterns check patterns.json": "workers",
        "reconcile": "workers",
        "agents rm a": "workers",
        "pump": "workers",
        "workers run deliver": "workers",
        "up": "local",
        "demo": "demo",
    }

    done = run(MANY, BARE, *extras)

    for (code, text), extra in zip(json.loads(done.stdout), extras.values(), strict=True):
        [line] = text.splitlines()
        assert code == 1
        assert line.endswith(f"is not installed; run: pip install 'sharpwave[{extra}]'")


def test_a_file_that_an_extra_reads_names_it(tmp_path: Path) -> None:
    hidden = {"patterns.yaml": "ruamel", "patterns.md": "markdown_it"}
    for name in hidden:
        (tmp_path / name).write_text("")

    done = run(
        MANY, ",".join(hidden.values()), *(f"patterns import {tmp_path / name}" for name in hidden)
    )

    for (code, text), module in zip(json.loads(done.stdout), hidden.values(), strict=True):
        [line] = text.splitlines()
        assert code == 1
        assert line.endswith(f"({module}) is not installed; run: pip install 'sharpwave[local]'")


def test_what_needs_no_worker_gets_on_with_it_on_a_bare_install() -> None:
    commands = ["agents add a", "send a WHALE b", "inbox a --receive", "ack a sig_1"]
    commands += ["dlq ls", "memory recall a"]

    done = run(MANY, BARE, *commands)

    for code, text in json.loads(done.stdout):
        [line] = text.splitlines()
        assert code == 1
        assert "Could not connect" in line
        assert "unexpected" not in line


def test_a_broker_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sharpwave\[workers\]'") as told:
        importlib.reload(sqs)

    assert told.value.name == "dramatiq"


def test_a_module_that_no_extra_brings_stays_an_unexpected_error() -> None:
    error = ModuleNotFoundError("No module named 'numpyy'", name="numpyy")

    assert extras.explained(error) is error


def test_the_extras_bring_what_the_package_says() -> None:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]
    modules = {
        "amazon-dax-client": "amazondax",
        "aws-cdk-lib": "aws_cdk",
        "cdk-nag": "cdk_nag",
        "cfn-lint": "cfnlint",
        "markdown-it-py": "markdown_it",
        "opentelemetry-api": "opentelemetry",
        "opentelemetry-sdk": "opentelemetry",
        "prometheus-client": "prometheus_client",
        "pydantic-settings": "pydantic_settings",
        "ruamel.yaml": "ruamel",
    }
    named = {
        extra: [re.split(r"[<>=]", text)[0] for text in texts] for extra, texts in declared.items()
    }

    assert set(named) == set(extras.MODULES)
    for extra, names in named.items():
        own = {modules.get(name, name) for name in names if not name.startswith("sharpwave[")}
        inner = next((name[len("sharpwave[") : -1] for name in names if "[" in name), "")
        assert own == set(extras.MODULES[extra])
        for_all = tuple(name for name in inner.split(",") if name not in ("", "async", "dax"))
        assert for_all == extras.INCLUDED.get(extra, ())


@pytest.mark.parametrize("argv", [["queues"], ["pump"], ["workers", "run", "deliver"], ["doctor"]])
def test_without_region_and_endpoint_a_command_says_what_to_export(
    argv: list[str], nowhere: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 1

    shown = capsys.readouterr()
    text = shown.err + shown.out
    assert "export AWS_ENDPOINT_URL=http://127.0.0.1:4566" in text
    assert "export AWS_DEFAULT_REGION=" in text
    assert "unexpected" not in text


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that names neither an endpoint nor a region."""
    for name in ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
