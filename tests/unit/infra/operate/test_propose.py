"""The archive suggests definitions, which `check` and `import` read."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.errors import Missing, Rejected
from sharpwave.infra.operate.definitions import read_definitions
from sharpwave.infra.operate.propose import propose
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.aws.archive import FolderArchive
from sharpwave.workers.work.ports import Item
from tests.world.records import decision, outcome
from tests.world.stores import START

#: pysubgroup needs NumPy 1, of which there is none for newer Pythons.
IS_THERE = sys.version_info < (3, 13)


class Archived:
    """An archive of one part; `None` is a line that cannot be read."""

    def __init__(self, *states: Item | None) -> None:
        self.states = states

    def part_names(self) -> list[str]:
        return ["day=2025-10-18/part-1.jsonl.gz"]

    def read(self, name: str) -> Iterator[Mapping[str, Any]]:
        for state in self.states:
            if state is None:
                raise ValueError("not gzip")
            yield {"state": "insert", "image": item_to_wire(state)}


def history(count: int = 400) -> list[Item]:
    chance = random.Random("history")
    made: list[Item] = []
    for number in range(count):
        trend, whales = chance.choice(["up", "down"]), chance.randrange(10)
        rate = 0.9 if trend == "up" and whales >= 5 else 0.4
        item = decision(
            name=f"d{number}",
            at=START + number,
            context={"trend": trend, "cycle": number},
            inputs={"whales": whales, "noise": chance.random()},
        )
        made += [item, {**item, "outcome": outcome(chance.random() < rate)}]
    return made


def test_too_few_decisions_suggest_nothing() -> None:
    with pytest.raises(Missing, match="holds 99 TRADE of ann with an outcome"):
        propose(Archived(*history(99)), "ann", "TRADE")
    with pytest.raises(Missing, match="holds 0 TRADES of ann"):
        propose(Archived(*history()), "ann", "TRADES")


def test_a_part_that_cannot_be_read_is_named() -> None:
    with pytest.raises(Rejected, match=r"part-1\.jsonl\.gz .* not gzip"):
        propose(Archived(*history(), None), "ann", "TRADE")


def test_the_extra_that_searches_is_there_where_it_can_be() -> None:
    assert (find_spec("pysubgroup") is not None) is IS_THERE


# In a process of its own: its libraries warn as they load, which is an error here.
def test_what_it_writes_is_read_by_the_others(tmp_path: Path) -> None:
    archive = FolderArchive(tmp_path / "archive")
    lines = [json.dumps({"state": "insert", "image": item_to_wire(each)}) for each in history()]
    archive.write("2025-10-18", lines)
    out = tmp_path / "proposals.json"
    command = [sys.executable, "-m", "sharpwave.infra.cli", "--json", "patterns", "propose"]
    command += ["--archive", (tmp_path / "archive").as_uri(), "--out", str(out)]
    command += ["--agent", "ann", "--type", "TRADE", "--endpoint-url", "http://127.0.0.1:9"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    if not IS_THERE:
        assert done.returncode == 1
        assert "pip install 'sharpwave[propose]'" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    definitions = read_definitions(out)
    words = [each.conditions.describe() for each in definitions if each.conditions]
    assert any("context.trend = up and inputs.whales >= " in text for text in words)
    assert {each.agent_id for each in definitions} == {"ann"}
    assert all(each.pattern_id.startswith("found_") for each in definitions)
    assert {each.kind for each in definitions} == {"promote", "avoid"}
