"""`isolation` and `synth`: what they answer, and how misuse is told."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra import cli

ROOT = Path(__file__).parents[4]
SHIPPED = Path(str(files("sharpwave.infra.aws"))) / "templates"


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = cli.main([*argv, "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out or shown.err)


def test_isolation_counts_what_was_denied(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = answer(capsys, "isolation", "--agent", "risk", "--agent", "risk-manager")

    assert code == 0
    assert said.keys() == {"demo", "production"}
    for each in said.values():
        assert each["denied"] == each["attempts"] > 100
        assert each["allowed"] == each["own"] > 10


def test_isolation_says_it_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["isolation", "--every"]) == 0

    said = capsys.readouterr().out
    assert "attempts on another agent's things denied" in said
    assert "forge a signal among its own" in said


def test_isolation_says_what_the_deployment_guide_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["isolation"]) == 0

    guide = (ROOT / "docs" / "DEPLOYMENT.md").read_text()
    for line in capsys.readouterr().out.splitlines():
        assert line in guide


def test_isolation_fails_and_names_what_reaches_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (SHIPPED / "demo").iterdir():
        text = path.read_text().replace('{"dynamodb:LeadingKeys": "false"}', "{}")
        (tmp_path / path.name).write_text(text)

    code = cli.main(["isolation", "--templates", str(tmp_path)])

    said = capsys.readouterr().out
    assert code == 1
    assert "wrong: a on b: query agent_signals for no key (dynamodb:Query) is allowed" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["isolation", "--agent", "a"], "takes two agents"),
        (["isolation", "--agent", "A", "--agent", "b"], "'A' cannot name an agent"),
        (["isolation", "--prefix", "Prod"], "prefix 'Prod' cannot be used"),
    ],
)
def test_misuse_is_told_with_its_remedy(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_folder_without_templates_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["isolation", "--templates", str(tmp_path)]) == 1
    assert "write one with `sharpwave synth`" in capsys.readouterr().err


def test_synth_without_its_extra_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["synth"]) == 1
    assert "'sharpwave[cdk]'" in capsys.readouterr().err
