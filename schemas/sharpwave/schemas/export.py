"""JSON Schemas of what agents write and receive, generated from the models.

They describe the JSON form: numbers are JSON numbers, times and keys are checked by pattern. Rules
that compare attributes with each other are beyond JSON Schema; `RULES` says them in words.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from sharpwave.schemas import examples, ids, keys, messages, patterns, records

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RULES = (
    "Also required: the key fits the attributes; timestamp, iso_timestamp and the time in SK name "
    "the same moment within 1 s; timestamp is at most 300 s ahead; ttl is in the future. "
    "`sharpwave schema check` tests all of it."
)

_AGENT, _TYPE, _ID = (text[1:-1] for text in (ids.AGENT_ID, ids.TYPE_NAME, ids.RECORD_ID))
_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_ISO = _DAY + r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?Z"
_DATED_SK = keys.dated_sk(_ISO, _ID)


class Published(NamedTuple):
    """A schema that is published: its name, model, example and the forms its attributes take."""

    name: str
    model: type[BaseModel]
    example: Mapping[str, Any]
    forms: Mapping[str, str] = {}
    version: int = 1

    @property
    def file_name(self) -> str:
        """Name the file the schema is kept in."""
        return f"{self.name}.v{self.version}.json"


def _any_of(*forms: str) -> str:
    return f"({'|'.join(forms)})"


_TIMED = {"SK": _DATED_SK, "iso_timestamp": _ISO, "event_time": _any_of(_ISO, _DAY)}
_MESSAGE = {"iso_timestamp": _ISO, "event_time": _any_of(_ISO, _DAY)}
_SIGNAL_PK = _any_of(keys.signal_pk(_TYPE), keys.signal_pk(_TYPE, _AGENT))
_STATE_SK = _any_of(keys.CURRENT, _any_of("CHECKPOINT", "BACKUP") + "#.+")

PUBLISHED = (
    Published(
        "decision",
        records.DecisionRecord,
        examples.DECISION,
        {"PK": keys.decision_pk(_AGENT, _TYPE), **_TIMED},
    ),
    Published("signal", records.SignalRecord, examples.SIGNAL, {"PK": _SIGNAL_PK, **_TIMED}),
    Published(
        "memory_entry",
        records.MemoryEntry,
        examples.MEMORY_ENTRY,
        {"PK": keys.memory_pk(_AGENT, _any_of(*keys.MEMORY_TYPES, *keys.LASTING_TYPES)), **_TIMED},
    ),
    Published(
        "state",
        records.StateRecord,
        examples.STATE,
        {"PK": keys.state_pk(_AGENT), "SK": _STATE_SK},
    ),
    Published(
        "registration",
        records.Registration,
        examples.REGISTRATION,
        keys.registration(_AGENT).item(),
    ),
    Published("acknowledgement", records.Acknowledgement, examples.ACKNOWLEDGEMENT),
    Published("signal_message", messages.SignalMessage, examples.SIGNAL_MESSAGE, _MESSAGE),
    Published("notice_message", messages.NoticeMessage, examples.NOTICE_MESSAGE),
    Published("pattern_definition", patterns.PatternDefinition, examples.PATTERN_DEFINITION),
)
NAMES = tuple(published.name for published in PUBLISHED)


def schema(name: str) -> dict[str, Any]:
    """Give the JSON Schema of one of `NAMES`, draft 2020-12.

    Raises:
        KeyError: no schema has this name.
    """
    published = next((one for one in PUBLISHED if one.name == name), None)
    if published is None:
        raise KeyError(f"no schema is named {name!r}; there are {', '.join(NAMES)}")
    body = published.model.model_json_schema(schema_generator=_Plain)
    for attribute, form in published.forms.items():
        field = body["properties"][attribute]
        # Of an optional attribute the form holds for the text only, not for its null.
        text = next((part for part in field.get("anyOf", ()) if "type" in part), field)
        text["pattern"] = f"^{form}$"
    if published.model is records.SignalRecord:
        named = body["properties"]["target_agents"]
        # A text is an agent's name, but for two lists that consist of one word each.
        agents = {**named, "items": {"type": "string", "pattern": ids.AGENT_ID}}
        description = agents.pop("description")
        groups = [{"const": [ids.EVERYONE]}, {"const": [ids.SUBSCRIBERS]}]
        body["properties"]["target_agents"] = {
            "anyOf": [agents, *groups],
            "description": description,
        }
    comment = {"$comment": RULES} if issubclass(published.model, records.Record) else {}
    head = {"$schema": DIALECT, "$id": f"sharpwave/{name}/v{published.version}.json", **comment}
    return {**head, **body, "examples": [dict(published.example)]}


def documents() -> dict[str, str]:
    """Give every schema as the text of its file, by file name."""
    return {
        one.file_name: json.dumps(schema(one.name), indent=2, ensure_ascii=True) + "\n"
        for one in PUBLISHED
    }


def stale(folder: Path) -> list[str]:
    """List the files of `folder` that are missing or differ from the models, sorted."""
    return sorted(
        name
        for name, text in documents().items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    )


def write(folder: Path) -> list[str]:
    """Write what is stale in `folder`, which is made if absent, and list it; safe to repeat."""
    folder.mkdir(parents=True, exist_ok=True)
    written = stale(folder)
    for name in written:
        (folder / name).write_text(documents()[name])
    return written


# Models read Decimal from text too; agents in any language must write numbers.
class _Plain(GenerateJsonSchema):
    """Numbers as JSON numbers, and no title that only repeats an attribute's name."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        bounds = {"minimum": schema.get("ge"), "maximum": schema.get("le")}
        limits = {name: int(bound) for name, bound in bounds.items() if bound is not None}
        return {"type": "number", **limits}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
