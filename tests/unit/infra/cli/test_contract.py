"""Every command keeps its promises: quick help, --json, dry runs, exit codes, short errors."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version

import pytest

from sharpwave.infra import cli
from sharpwave.infra.cli import system
from sharpwave.infra.cli.command import confirm
from sharpwave.infra.cli.output import Answer
from sharpwave.infra.errors import Missing, Misused

HEAVY = ("boto3", "botocore", "pydantic", "aiobotocore", "dramatiq", "rich", "msgspec")
NOWHERE = "http://127.0.0.1:9"


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for child in group.choices.values():
            yield from leaves(child)


LEAVES = list(leaves(cli.whole()))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "SHARPWAVE_PREFIX", "SHARPWAVE_DEBUG", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("leaf", LEAVES, ids=lambda leaf: leaf.prog)
def test_every_command_answers_in_json_and_can_be_pointed_elsewhere(
    leaf: argparse.ArgumentParser,
) -> None:
    options = leaf.format_help()

    assert "--json" in options
    assert "--endpoint-url" in options
    assert "--prefix" in options


@pytest.mark.parametrize(
    "name",
    [
        *("provision", "destroy", "agents add", "agents rm", "pause", "resume", "send", "ack"),
        *("dlq redrive", "dlq retry", "dlq discard", "patterns import", "schema export"),
    ],
)
def test_a_command_that_changes_something_has_a_dry_run(name: str) -> None:
    found = [leaf for leaf in LEAVES if leaf.prog == f"sharpwave {name}"]

    assert len(found) == 1
    assert "--dry-run" in found[0].format_help()


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom sharpwave.infra.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["dlq"], ["trace"], ["agents", "add", "x", "--bogus"]]
)
def test_misuse_exits_with_2_and_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2

    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sharpwave: ")
    assert "--help`" in line


@pytest.mark.parametrize("argv", [["--json"], ["nonsense", "--json"], ["queues", "--json", "-x"]])
def test_misuse_is_told_in_json_where_json_is_asked_for(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2

    shown = json.loads(capsys.readouterr().err)
    assert shown["kind"] == "Misused"
    assert "--help`" in shown["error"]


@pytest.mark.parametrize("argv", [["--version"], ["--json", "--version"]])
def test_the_release_is_told(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)

    shown = capsys.readouterr().out
    expected = version("sharpwave")
    assert end.value.code == 0
    assert shown == (
        f"sharpwave {expected}\n" if len(argv) == 1 else f'{{"version":"{expected}"}}\n'
    )


@pytest.mark.parametrize(
    ("argv", "fault"),
    [
        (["agents", "add", "Risk Manager"], "cannot name an agent"),
        (["agents", "add", "3"], "digits alone are a shard"),
        (["agents", "add", "a", "--filter", "data.n = 1"], "names no type"),
        (["pause", "nonsense"], "is no work queue"),
        (["queues", "--prefix", "Not_OK"], "prefix 'Not_OK' cannot be used"),
        (["queues", "--endpoint-url", "127.0.0.1"], "is no URL"),
        (["dlq", "show", "no queue"], "is no queue"),
        (["dlq", "discard", "deliver"], "say which"),
        (["inbox", "risk-manager", "--ack"], "--ack goes with --receive"),
        (["send", "a", "T", "b", "--data", "[]"], "--data is no JSON object"),
        (["send", "a", "t", "b"], "signal not sent: signal_type"),
        (["memory", "recall", "a", "--kind", "dreams"], "is no kind of memory"),
        (["patterns", "import", "/nonexistent.json"], "cannot be read"),
        (["verify", "--archive", "ftp://host"], "'ftp://host' cannot be opened; take file:///"),
    ],
)
def test_a_senseless_request_exits_with_2_and_says_why(
    argv: list[str], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    at = [] if "--endpoint-url" in argv else ["--endpoint-url", NOWHERE]

    code = cli.main([*argv, *at])

    error = capsys.readouterr().err
    assert code == 2
    assert fault in error
    assert len(error.strip().splitlines()) == 1


def test_an_endpoint_that_does_not_answer_is_named_with_the_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = cli.main(["queues", "--endpoint-url", NOWHERE])

    error = capsys.readouterr().err
    assert code == 1
    assert NOWHERE in error
    assert "sharpwave up" in error
    assert "Traceback" not in error


def answering(error: Exception | None, answer: Answer, *, as_json: bool) -> argparse.Namespace:
    def handler(_: argparse.Namespace) -> Answer:
        if error:
            raise error
        return answer

    return argparse.Namespace(handler=handler, json=as_json)


@pytest.mark.parametrize(
    ("error", "code"), [(Missing("table x is gone"), 1), (Misused("no"), 2), (OSError("disk"), 1)]
)
def test_an_error_in_json_is_one_object(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(answering(error, Answer(), as_json=True)) == code

    shown = json.loads(capsys.readouterr().err)
    assert shown["kind"] == type(error).__name__
    assert str(error) in shown["error"]


def test_a_traceback_is_shown_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = answering(Missing("table x is gone"), Answer(), as_json=False)

    cli.run(request)
    quiet = capsys.readouterr().err
    monkeypatch.setenv("SHARPWAVE_DEBUG", "1")
    cli.run(request)

    assert quiet == "sharpwave: table x is gone\n"
    assert "Traceback" in capsys.readouterr().err


def test_a_found_fault_exits_with_1_and_still_answers(capsys: pytest.CaptureFixture[str]) -> None:
    answer = Answer({"healthy": False}, "something is wrong", ok=False)

    assert cli.run(answering(None, answer, as_json=True)) == 1
    assert json.loads(capsys.readouterr().out) == {"healthy": False}


@pytest.mark.parametrize("argv", [["--json", "doctor"], ["doctor", "--json"]])
def test_options_may_stand_before_or_after_the_command(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main([*argv, "--endpoint-url", NOWHERE])

    answer = json.loads(capsys.readouterr().out)
    assert code == 1
    assert answer["findings"][0]["area"] == "endpoint"
    assert answer["findings"][0]["mend"] == "sharpwave up"


def test_what_cannot_be_undone_is_not_done_where_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/null") as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)

        with pytest.raises(Misused, match="needs --yes"):
            confirm(argparse.Namespace(yes=False, dry_run=False), "Delete everything?")
        confirm(argparse.Namespace(yes=True, dry_run=False), "Delete everything?")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "in memory and go with it; --state DIR keeps them"),
        (["--backend", "moto"], "in memory and go with it"),
        (["--state", "kept"], "kept in kept, streams begin anew"),
        (["--backend", "external"], "stay where they are"),
    ],
)
def test_ctrl_c_says_what_becomes_of_tables_and_queues(argv: list[str], said: str) -> None:
    assert system.end_of_state(cli.whole().parse_args(["up", *argv])).endswith(said)
