"""Every example runs as it stands, with nothing set but the endpoint."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpwave.schemas import faults, keys, tables
from sharpwave.schemas.numbers import item_from_wire
from sharpwave.schemas.times import now
from tests.world.waiting import eventually

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"


@pytest.fixture
def bare(endpoint: str, pipeline: Any) -> Any:
    """A deployment without a prefix, as the examples take it for granted."""
    bare = type(pipeline)(pipeline.session, endpoint, "")
    if "agent_signals" in bare.dynamodb.list_tables()["TableNames"]:
        pytest.skip("the backend has tables in use")
    bare.create()
    yield bare
    for table in tables.TABLES:
        bare.dynamodb.delete_table(TableName=table.name)
    for url in bare.sqs.list_queues(QueueNamePrefix="inbox-").get("QueueUrls", []):
        bare.sqs.delete_queue(QueueUrl=url)


@pytest.mark.parametrize("name", ["raw_agent.py", "raw_agent.sh", "raw_agent.mjs"])
def test_a_raw_agent_makes_the_whole_round(
    name: str,
    bare: Any,
    endpoint: str,
    command_of: Callable[[str], list[Any]],
) -> None:
    command, path = command_of(name), os.environ["PATH"]
    bare.add_queue("raw-agent")

    with _started(command, {"PATH": path, "AWS_ENDPOINT_URL": endpoint}) as agent:
        signal = _only_signal(bare, agent)
        delivery_id = bare.deliver(signal, "raw-agent")
        said, _ = agent.communicate(timeout=60)

    row = bare.row(signal, "raw-agent")
    assert agent.returncode == 0
    if name.endswith(".mjs"):
        # One more than 2^53, which JavaScript's own numbers cannot hold.
        assert '"order_id":"9007199254740993"' in said
    assert f"acknowledged {delivery_id} with {row['decision_id']}" in said
    assert row["status"] == "PROCESSED"
    assert bare.waiting("raw-agent") == bare.hidden("raw-agent") == 0
    _assert_valid(bare)


@pytest.mark.parametrize("name", ["sdk_agent.py", "sdk_agent_async.py"])
def test_an_agent_on_the_sdk_makes_the_whole_round(name: str, bare: Any, endpoint: str) -> None:
    with _started([sys.executable, EXAMPLES / name], {"AWS_ENDPOINT_URL": endpoint}) as agent:
        signal = _only_signal(bare, agent)
        delivery_id = bare.deliver(signal, "sdk-agent")
        said, _ = agent.communicate(timeout=60)

    decision_id = bare.row(signal, "sdk-agent")["decision_id"]
    assert f"{decision_id} settles {delivery_id}" in said
    _assert_valid(bare)


def test_two_agents_with_a_memory_make_the_whole_round(bare: Any, endpoint: str) -> None:
    command = [sys.executable, EXAMPLES / "two_agents.py"]
    with _started(command, {"AWS_ENDPOINT_URL": endpoint}) as agents:
        signal = _only_signal(bare, agents)
        bare.deliver(signal, "manager")
        said, _ = agents.communicate(timeout=60)

    assert said.split() == [bare.row(signal, "manager")["decision_id"], "5"]
    _assert_valid(bare)


def _started(command: list[Any], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _only_signal(pipeline: Any, agent: subprocess.Popen[str]) -> keys.Key:
    def written() -> bool:
        assert agent.poll() is None, f"the example ended early with {agent.returncode}"
        return bool(pipeline.count(tables.SIGNALS))

    eventually(written, "the agent sent its signal")
    (item,) = pipeline.dynamodb.scan(TableName=tables.SIGNALS)["Items"]
    return keys.Key(item["PK"]["S"], item["SK"]["S"])


def _assert_valid(pipeline: Any) -> None:
    for table in (tables.DECISIONS, tables.SIGNALS):
        for wire in pipeline.dynamodb.scan(TableName=table)["Items"]:
            item = item_from_wire(wire)
            kind = faults.kind_of(table, item["PK"], item["SK"])
            if kind in ("decision", "signal"):
                faults.validate(kind, item, stored_at=now())
            else:
                assert kind == "inbox_row", json.dumps(wire)
