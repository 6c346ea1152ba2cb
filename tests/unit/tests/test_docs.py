"""What the documents say exists."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sharpwave import producers
from sharpwave.infra.cli import whole
from sharpwave.infra.errors import Misused
from sharpwave.producers import errors
from sharpwave.workers.settings import Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").iterdir())
COMMAND = re.compile(r"^ {4}(sharpwave .+?)(?:  +#.*|)$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_is_one_that_the_command_line_takes(document: Path) -> None:
    root = whole()

    for line in COMMAND.findall(document.read_text()):
        root.parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text())

    assert [name for name in targets if not (document.parent / name).exists()] == []


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLES], ids=lambda path: path.name)
def test_nothing_is_installed_by_a_name_that_no_index_has(document: Path) -> None:
    assert re.findall(r"pip install '?sharpwave.*", document.read_text()) == []


@pytest.mark.parametrize("document", [*DOCUMENTS, *EXAMPLES], ids=lambda path: path.name)
def test_every_aws_line_for_sqs_names_its_endpoint(document: Path) -> None:
    """Version 1 of the AWS CLI heeds AWS_ENDPOINT_URL for DynamoDB, not for SQS."""
    commands = re.findall(r"aws sqs [^\n`]*", document.read_text().replace("\\\n", " "))

    assert [each for each in commands if "--endpoint-url" not in each] == []


def test_the_deployment_guide_lists_every_setting_with_its_meaning() -> None:
    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text()
    rows = dict(re.findall(r"^\| `(SHARPWAVE_\w+)` \|[^|]*\| (.*) \|$", text, re.MULTILINE))

    assert rows == {
        f"SHARPWAVE_{name.upper()}": field.description
        for name, field in Settings.model_fields.items()
    }


def absent(table: str) -> list[str]:
    """Name what the second column of a table calls and nothing offers."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    settings = {f"SHARPWAVE_{name.upper()}" for name in Settings.model_fields}
    surfaces = {
        "agent": (producers.Agent, producers.AsyncAgent),
        "delivery": (producers.Delivery, producers.AsyncDelivery),
    }

    def is_there(call: str) -> bool:
        first, *rest = re.split(r"[ .]", call)
        if first == "sharpwave":
            try:
                whole().parse_args([*rest, "--help"])
            except SystemExit as said:
                return said.code == 0
            except Misused:
                return False
        if first == "make":
            return rest[0] in targets
        if first in surfaces:
            return all(hasattr(each, rest[0]) for each in surfaces[first])
        return call in settings or call in producers.__all__

    rows = re.findall(r"^\|[^|]*\|(.*)\|$", table, re.M)
    calls = [call for row in rows for call in re.findall(r"`([^`]+)`", row)]
    assert len(calls) > 20
    return [call for call in calls if not is_there(call)]


def wanted() -> str:
    text = (ROOT / "docs" / "API_REFERENCE.md").read_text()
    found = re.search(r"## What you want to do\n(.*?)\n## ", text, re.S)
    assert found
    return found[1]


def test_what_one_may_want_to_do_is_done_by_calls_that_exist() -> None:
    assert absent(wanted()) == []


def test_a_call_that_does_not_exist_is_found_out() -> None:
    """The control: one of each kind that is gone."""
    gone = {"agent.touchy", "sharpwave verified", "make nothing", "SHARPWAVE_NONE", "Nobody"}
    rows = "".join(f"| any | `{call}` |\n" for call in gone)

    assert gone <= set(absent(wanted() + "\n" + rows))


def public_of(surface: type) -> Iterator[tuple[str, Any]]:
    """Give what a class offers under names of its own."""
    inherited = {name for base in (Exception, tuple, dict) for name in dir(base)}
    for name, member in inspect.getmembers(surface):
        if not name.startswith("_") and name not in inherited:
            yield name, member
    for name in (*getattr(surface, "__dataclass_fields__", ()), *getattr(surface, "_fields", ())):
        yield name, None


#: What a class shows to its package, and no caller needs.
INTERNAL = {"DaxCache.open", "MemoryCache.open", "Recalled.matches", "Recalled.of"}


def undocumented(text: str) -> list[str]:
    """Name what `sharpwave.producers` offers and a reference does not: names, arguments, errors."""
    spans = re.findall(r"`([^`]+)`", text)
    words = {
        word
        for span in [*spans, *re.findall(r"^from .+?`$", text, re.M)]
        for word in re.findall(r"\w+", span)
    }
    calls: dict[str, set[str]] = {}
    for span in spans:
        name, opens, arguments = span.partition("(")
        if opens:
            calls.setdefault(name, set()).update(re.findall(r"\w+", arguments))
    missing = [name for name in errors.__all__ if name not in words]
    for name in producers.__all__:
        surface = getattr(producers, name)
        missing += [] if name in words else [name]
        members = [] if not inspect.isclass(surface) else list(public_of(surface))
        # An asynchronous agent is described by the synchronous one.
        if name in ("Agent", "MemoryCache", "DaxCache"):
            members.append((name, surface))
        for member, found in members:
            path = f"{name}.{member}"
            if path in INTERNAL:
                continue
            missing += [] if member in words else [path]
            if not (inspect.isfunction(found) or inspect.isclass(found)):
                continue
            # The first is the agent or the delivery itself; what takes any names none.
            listed = list(inspect.signature(found).parameters.values())
            listed = listed if inspect.isclass(found) else listed[1:]
            said = calls.get(member, set())
            missing += [
                f"{path}({each.name})"
                for each in listed
                if each.name not in said and each.kind is not each.VAR_KEYWORD
            ]
    return missing


def reference() -> str:
    text = (ROOT / "docs" / "API_REFERENCE.md").read_text()
    return text[text.index("## SDK") :]


def test_the_reference_misses_no_name_argument_or_error_of_the_sdk() -> None:
    assert undocumented(reference()) == []


def test_a_reference_that_misses_something_is_found_out() -> None:
    """The control: without a name, an argument and an error."""
    text = reference()
    for gone in ("look_back", "Throttled", "signal_many"):
        text = text.replace(gone, "")

    assert {"Throttled", "Agent.signal_many", "Agent.choose(look_back)"} <= set(undocumented(text))
