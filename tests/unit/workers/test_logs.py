"""A log line says what happened and the facts that came with it; as JSON if that is asked for."""

import io
import json
import logging
import re
from collections.abc import Callable

import pytest

from sharpwave.workers import logs

LOG = logging.getLogger("sharpwave.test")


def told(form: logs.Form, say: Callable[[], None], *, has_handler: bool = True) -> str:
    """Give what is written by a process in which Dramatiq has set up a handler, or nobody one."""
    stream = io.StringIO()
    # While the test runs, for the root's own handlers are pytest's.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        handlers = [logging.StreamHandler(stream)] if has_handler else []
        patch.setattr(logging.getLogger(), "handlers", handlers)
        logs.set_up(form)
        say()
    return stream.getvalue()


def odd() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        LOG.exception("beat_failed", extra={"queue": "learn"})


def test_a_line_of_text_ends_with_its_facts() -> None:
    facts = {"table": "agent_state", "error": "OSError('no way')", "empty": ""}

    line = told("text", lambda: LOG.warning("%s_failed", "pump", extra=facts))

    assert re.match(r"\[\d{4}-.*\[PID \d+\].*\[sharpwave.test\] \[WARNING\] pump_failed ", line)
    assert line.endswith(' pump_failed table=agent_state error="OSError(\'no way\')" empty=""\n')


def test_a_fact_cannot_break_its_line() -> None:
    line = told("text", lambda: LOG.warning("failed", extra={"error": "a\nb"}))

    assert line.count("\n") == 1


@pytest.mark.parametrize("has_handler", [True, False])
def test_a_line_of_json_holds_its_facts_beside_the_message(has_handler: bool) -> None:
    facts = {"table": "agent_state", "shards": {"s-1"}, "level": "odd"}

    said = told("json", lambda: LOG.warning("failed", extra=facts), has_handler=has_handler)

    line = json.loads(said)
    assert line["message"] == "failed"
    assert (line["table"], line["shards"], line["level"]) == ("agent_state", "{'s-1'}", "WARNING")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_kept(form: logs.Form) -> None:
    said = told(form, odd)

    assert all(part in said for part in ("beat_failed", "learn", "ValueError: odd"))
