"""Pattern definitions as people write them: JSON, YAML, or the tables of a Markdown file.

All three say the same: a list of definitions, or a single one. Conditions may be written in words
everywhere, as `sharpwave patterns ls` shows them: `inputs.whale_count >= 5 and ...`.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sharpwave.infra.errors import Misused
from sharpwave.schemas.conditions import Conditions
from sharpwave.schemas.numbers import UnstorableValue, item_to_wire, parse_json
from sharpwave.schemas.patterns import PatternDefinition

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_FORMS = {".yaml": "YAML", ".yml": "YAML", ".md": "Markdown", ".markdown": "Markdown"}
#: A table of a Markdown file is taken for definitions if it has this column.
_NAMES = "pattern_id"
#: What a Markdown cell holds as words with commas between them.
_LISTS = ("shared_with",)
#: What notes on patterns hold of what nobody can import.
_COMPUTED = frozenset(
    {
        *("confidence", "success_rate", "sample_size", "outcomes", "access_count", "interval"),
        *("version", "learned_at", "state", "evidence", "content_hash"),
    }
)
#: Faults that are told at a time.
_TOLD = 5


def read_definitions(path: Path) -> list[PatternDefinition]:
    """Read a file of definitions: YAML by `.yaml` or `.yml`, Markdown by `.md`, JSON else.

    Raises:
        Misused: the file cannot be read, or a definition is at fault.
        ModuleNotFoundError: YAML or Markdown, and the extra that reads it is not installed.
    """
    form = _FORMS.get(path.suffix.lower(), "JSON")
    reader = {"JSON": parse_json, "YAML": _yaml, "Markdown": _markdown}[form]
    try:
        found = reader(path.read_bytes().decode())
    except (OSError, ValueError) as error:
        raise Misused(f"{path} cannot be read as {form}: {error}") from error
    found = found if isinstance(found, list) else [found]
    faults: list[str] = []
    definitions = []
    for number, each in enumerate(found):
        try:
            if isinstance(each, Mapping) and isinstance(words := each.get("conditions"), str):
                each = {**each, "conditions": _conditions(words)}
            definition = PatternDefinition.model_validate(each)
            # A version is kept as an item, and not every number that compares fits into one.
            item_to_wire({str(number): definition.model_dump(mode="json")})
        except UnstorableValue as error:
            faults.append(f"{error.where}: {error.reason}")
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                where = ".".join(str(part) for part in (number, *detail["loc"]))
                faults.append(f"{where}: {_words(detail)}")
        except ValueError as error:
            faults.append(f"{number}.conditions: {error}")
        else:
            definitions.append(definition)
    if faults:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise Misused(f"{path}: definition " + "; ".join(faults[:_TOLD]) + more)
    return definitions


def _words(detail: "ErrorDetails") -> str:
    """Say what is wrong in words that help, without those of the library that found it."""
    if detail["type"] == "model_type":
        return f"it is no map of attributes but {detail['input']!r:.40}"
    if detail["type"] != "extra_forbidden":
        return detail["msg"].removeprefix("Value error, ")
    if detail["loc"][-1] in _COMPUTED:
        return "it is computed from outcomes or kept by workers, never imported; leave it out"
    return f"there is no such attribute; there are {', '.join(PatternDefinition.model_fields)}"


def _conditions(words: str) -> Conditions:
    try:
        return Conditions.read(words)
    except ValidationError as error:
        # It stands in no list yet, so the place of its fault would say nothing to a reader.
        raise ValueError(_words(error.errors(include_url=False)[0])) from error


def _yaml(text: str) -> Any:
    # YAML 1.2: of YAML 1.1's readers many take `on` and `no` for booleans without a word.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _markdown(text: str) -> list[dict[str, Any]]:
    known = PatternDefinition.model_fields
    found = []
    for names, rows in _tables(text):
        if _NAMES not in names:
            continue
        if strange := [name for name in names if name not in known]:
            raise ValueError(
                f"the column {strange[0]!r} is no attribute of a pattern; the columns are "
                f"some of {', '.join(known)}"
            )
        for cells in rows:
            given = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
            for name in given.keys() & set(_LISTS):
                given[name] = [word.strip() for word in given[name].split(",")]
            found.append(given)
    if not found:
        raise ValueError(f"it has no table with a column {_NAMES} and a row")
    return found


def _tables(text: str) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """Give the tables of a Markdown text: the words of their heads, and those of their rows."""
    from markdown_it import MarkdownIt

    rows: list[list[Any]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            rows = []
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows and token.level > 3:
            # What a cell says without its marks: `a` and **a** are a.
            rows[-1].append("".join(part.content for part in token.children or ()).strip())
        elif token.type == "table_close":
            yield rows[0], rows[1:]
            rows = []
