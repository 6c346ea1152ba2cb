"""What the documents say exists."""

import re
import shlex
from pathlib import Path

import pytest

from sharpwave.infra.cli import whole
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
