"""A setting that cannot be is told by name, fault and remedy, in one line, as misuse."""

import subprocess
import sys

import pytest

from sharpwave.infra import cli
from sharpwave.workers import main
from sharpwave.workers.settings import Misconfigured, Settings

#: How each command that reads settings begins.
COMMANDS = (["up"], ["pump"], ["workers", "run", "learn"], ["verify"], ["replay"])


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TICK_S", "soon", "'soon' is no number (how often sweeps and figures run)"),
        ("TICK_S", "0", "'0' is not allowed; it is above 0"),
        ("TICK_S", "inf", "'inf' is no number that is finite"),
        ("THREADS", "1.5", "'1.5' is no whole number"),
        ("WRITES", "both", "'both' is not allowed; take 'batched' or 'single'"),
        ("PREFIX", "Prod", "'Prod' cannot be used; take at most 20 of a-z, 0-9 and '-'"),
        ("ARCHIVE", "ftp://x", "'ftp://x' cannot be used; take file:///folder or s3://"),
        ("EVENT_AHEAD", "soon", "'soon' is no JSON"),
        ("EVENT_AHEAD", "[]", "[] is no map of names to values"),
    ],
)
def test_what_a_variable_cannot_hold_is_told(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"SHARPWAVE_{name}", value)

    with pytest.raises(Misconfigured) as error:
        Settings.read()

    text = str(error.value)
    assert text.startswith(f"SHARPWAVE_{name}: {told}")
    assert text.endswith("; mend or unset it")
    assert "\n" not in text


def test_each_variable_at_fault_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPWAVE_LOG", "xml")
    monkeypatch.setenv("SHARPWAVE_EVENT_AHEAD", '{"FORECAST": -1}')

    with pytest.raises(Misconfigured, match=r"AHEAD, FORECAST: -1 is not .* 0 \(.*; SHARPWAVE_LOG"):
        Settings.read()


def test_event_times_ahead_are_read_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPWAVE_EVENT_AHEAD", '{"FORECAST": 2592000}')

    assert Settings.read().event_ahead == {"FORECAST": 2_592_000}


@pytest.mark.parametrize(("given", "read"), [("SEV1, critical", {"sev1", "critical"}), ("", set())])
def test_urgent_severities_are_words_between_commas_in_any_letters(
    given: str, read: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARPWAVE_URGENT", given)

    assert Settings.read().urgent == read


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_says_so_in_one_line_and_ends_as_misused(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARPWAVE_EVENT_AHEAD", "soon")
    monkeypatch.setenv("SHARPWAVE_THREADS", "8")

    assert cli.main(command) == 2

    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("sharpwave: SHARPWAVE_EVENT_AHEAD: 'soon' is no JSON")


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "-1"])
def test_an_import_reads_its_seconds_alike(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARPWAVE_CLOCK_SKEW_S", text)

    assert cli.main(["patterns", "import", "patterns.json"]) == 2

    [line] = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"sharpwave: SHARPWAVE_CLOCK_SKEW_S: '{text}' is no number of seconds")


def test_a_worker_process_says_so_and_is_not_put_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHARPWAVE_LOG", "xml")

    with pytest.raises(SystemExit) as end:
        main.build()

    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("sharpwave: SHARPWAVE_LOG: 'xml' is not allowed")


def test_dramatiq_ends_with_its_workers_code_and_shows_no_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARPWAVE_LOG", "xml")
    build = ["dramatiq", "sharpwave.workers.main:build", "--processes", "1"]

    done = subprocess.run(
        [sys.executable, "-m", *build], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 2
    assert "sharpwave: SHARPWAVE_LOG: 'xml' is not allowed" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
