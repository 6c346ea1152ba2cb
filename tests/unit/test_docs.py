"""What the documents say exists."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from sharpwave.infra.cli import FAMILIES
from sharpwave.infra.cli.command import parser
from sharpwave.workers.settings import Settings

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMAND = re.compile(r"^ {4}(sharpwave .+?)(?:  +#.*|)$", re.MULTILINE)
LINK = re.compile(r"\]\(([\w./-]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_is_one_that_the_command_line_takes(document: Path) -> None:
    root, commands = parser()
    for family in FAMILIES:
        import_module(f"sharpwave.infra.cli.{family}").add(commands)

    for line in COMMAND.findall(document.read_text()):
        root.parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = LINK.findall(document.read_text())

    assert [name for name in targets if not (document.parent / name).exists()] == []


def test_the_deployment_guide_lists_every_setting_with_its_meaning() -> None:
    text = (ROOT / "docs" / "DEPLOYMENT.md").read_text()
    rows = dict(re.findall(r"^\| `(SHARPWAVE_\w+)` \|[^|]*\| (.*) \|$", text, re.MULTILINE))

    assert rows == {
        f"SHARPWAVE_{name.upper()}": field.description
        for name, field in Settings.model_fields.items()
    }
