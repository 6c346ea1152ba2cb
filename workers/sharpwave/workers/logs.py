"""How log lines look: what happened, and the facts that came with it.

The modules log an event by name and put its facts beside it, as `extra`, which the formats of
`logging` and of Dramatiq leave out.
"""

import json
import logging
import sys
import time
from typing import Any, Literal

Form = Literal["text", "json"]

_TEXT = "[%(asctime)s] [PID %(process)d] [%(threadName)s] [%(name)s] [%(levelname)s] %(message)s"
#: What every record has; anything else somebody put there.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up(form: Form) -> None:
    """Give every line of this process that form; without a handler yet, to standard error."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for handler in root.handlers:
        handler.setFormatter(JsonLines() if form == "json" else TextLines(_TEXT))
    logging.getLogger("botocore").setLevel(logging.WARNING)


def facts_of(record: logging.LogRecord) -> dict[str, Any]:
    """Give what was put beside the message, by name."""
    return {name: value for name, value in vars(record).items() if name not in _USUAL}


class TextLines(logging.Formatter):
    """Dramatiq's line, with the facts at its end as name=value."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Give the line without the traceback."""
        facts = [f" {name}={_plain(value)}" for name, value in facts_of(record).items()]
        return super().formatMessage(record) + "".join(facts)


class JsonLines(logging.Formatter):
    """One JSON object a line; facts stand beside the message, and may not replace it."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            **facts_of(record),
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _plain(value: object) -> str:
    text = str(value)
    # A value that holds a space or a line's end would be taken for more than one.
    return text if text and text.isprintable() and not set(' ="') & set(text) else json.dumps(text)
