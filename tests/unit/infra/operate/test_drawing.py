"""Pictures of patterns: equal numbers give equal files, and the numbers stand beside each."""

import csv
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from sharpwave.infra.errors import OperationFailed
from sharpwave.infra.operate.drawing import FORMS, draw, names_of, to_csv
from sharpwave.infra.operate.pictures import (
    Picture,
    budget_picture,
    confidence_picture,
    evidence_picture,
    reliability_picture,
)
from sharpwave.infra.operate.walk import walk
from sharpwave.schemas import keys
from sharpwave.schemas.patterns import PatternDefinition, PatternVersion
from sharpwave.workers.patterns.counts import Arms, Counts
from sharpwave.workers.patterns.evidence import calibration
from sharpwave.workers.patterns.policy import Policy

POLICY = Policy()
#: What an axis has to be called for somebody who does not know the picture.
LABELS = {
    "confidence": ["share of successes (0 to 1)", "confidence (probability)", "day"],
    "evidence": ["log10 of the e-value", "units", "day"],
    "reliability": ["share of successes (0 to 1)", "outcomes", "stated confidence (0 to 1)"],
    "budget": ["false discovery rate", "patterns", "day"],
}


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """A pattern that is promoted, without a base on its first days, and breaks its promise."""
    definition = {"pattern_id": "up", "agent_id": "ann", "decision_type": "TRADE"}
    version = PatternVersion(
        definition=PatternDefinition.model_validate(definition),
        version=1,
        effective_from=0,
        learned_at=0,
    )
    days = [(date(2025, 1, 1) + timedelta(days=number)).isoformat() for number in range(60)]
    won = {day: 4 if number < 30 else 1 for number, day in enumerate(days)}
    counts = {
        version.subject: {day: Counts(n=4, s=won[day]) for day in days},
        keys.base_subject("ann", "TRADE"): {day: Counts(n=14, s=won[day] + 5) for day in days},
    }
    arms = {version.subject: {day: Arms(n=4, s=won[day]) for day in days}}
    told, budgets = walk([version], counts, arms, POLICY)
    stated = calibration(
        [(0, 0, 0)] * 5 + [(10, 6, 55_000)] + [(0, 0, 0)] * 3 + [(8, 7, 76_000)], 9
    )
    assert stated is not None
    return [
        confidence_picture(told[version.subject], POLICY),
        evidence_picture(told[version.subject]),
        reliability_picture(version, stated),
        budget_picture("ann", budgets["ann"], POLICY),
    ]


@pytest.fixture(scope="module")
def drawn(pictures: list[Picture], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "made"
    draw(pictures, folder, "up")
    return folder


def test_every_picture_is_there_in_every_form(drawn: Path, pictures: list[Picture]) -> None:
    assert sorted(names_of("up", pictures)) == sorted(path.name for path in drawn.iterdir())
    assert len(names_of("up", pictures)) == 4 * len(FORMS)


def test_equal_numbers_give_equal_files(
    drawn: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    for again in draw(pictures[1:3], tmp_path, "up"):
        assert again.read_bytes() == (drawn / again.name).read_bytes(), again.name


def test_the_numbers_beside_a_picture_are_those_that_it_shows(
    drawn: Path, pictures: list[Picture]
) -> None:
    for picture in pictures:
        header, *rows = csv.reader((drawn / f"up-{picture.name}.csv").read_text().splitlines())
        assert header == list(picture.columns)
        assert rows == [
            ["" if value is None else str(value) for value in row] for row in picture.rows
        ]
    evidence = to_csv(pictures[1]).splitlines()
    assert evidence[1].startswith("2025-01-01,0,,"), "no evidence before a base is frozen"


def test_a_picture_says_in_words_what_it_shows(drawn: Path, pictures: list[Picture]) -> None:
    for picture in pictures:
        words = re.sub(r"\s+", " ", (drawn / f"up-{picture.name}.svg").read_text())
        assert f"<dc:title>{picture.title}</dc:title>" in words
        for label in LABELS[picture.name]:
            assert f">{label}<" in words, (picture.name, label)
    words = (drawn / "up-confidence.svg").read_text()
    for state in ("active", "retired"):
        assert f">{state}<" in words


def test_a_folder_that_cannot_be_written_is_told(pictures: list[Picture], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(OperationFailed, match="cannot be written"):
        draw(pictures[:1], tmp_path / "file", "up")
