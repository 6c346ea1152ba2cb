"""The second witness: Amazon's JavaScript client, as it comes, finds what the Python one finds."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.local import BackendUnavailable
from sharpwave.infra.local.dax import DaxServer
from sharpwave.infra.local.environment import ensure_node, node_command
from tests.dax import create_table

NODE = Path(__file__).parents[2] / "dax" / "node"


@pytest.fixture(scope="module")
def witness() -> Callable[..., Any]:
    """Run the client against a cluster and a table; where Node.js is not at hand, skip."""
    try:
        command = [node_command("dax-witness"), "witness.mjs"]
        folder = ensure_node("dax-witness", NODE)
    except BackendUnavailable as missing:
        pytest.skip(str(missing))

    def run(endpoint: str, table: str) -> Any:
        done = subprocess.run(
            [*command, endpoint, table],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def key(number: int) -> dict[str, Any]:
    return {"PK": {"S": "js"}, "SK": {"N": str(number)}}


def test_every_data_call_of_the_javascript_client_is_understood(
    witness: Callable[..., Any], start: Callable[..., DaxServer], dynamodb: Any
) -> None:
    table = create_table(dynamodb)
    cluster = start(ports=(0, 0), secrets={"test": "test"})

    said = witness(cluster.endpoint, table)

    whole = dynamodb.get_item(TableName=table, Key=key(5), ConsistentRead=True)["Item"]
    assert said["get"]["Item"]["text"] == {"S": "grüße"}
    assert said["get"]["Item"]["map"] == whole["map"]
    assert said["project"]["Item"] == {
        "list": {"L": [{"NULL": True}]},
        "map": {"M": {"deep": {"M": {"er": {"N": "-1"}}}}},
    }
    assert "Item" not in said["absent"]
    assert said["refused"]["error"] == "ConditionalCheckFailedException"
    changed = said["update"]["Attributes"]
    assert (changed["part"], changed["list"]["L"][0]) == ({"N": "2.25"}, {"S": "x"})
    assert sorted(changed["numbers"]["NS"]) == ["1", "2", "3"]
    assert said["updated"]["Attributes"]["seen"] == {"BOOL": True}
    assert "bytes" not in said["updated"]["Attributes"]
    assert said["batchWrite"]["UnprocessedItems"] == {}
    numbers = {item["SK"]["N"] for item in said["batchGet"]["Responses"][table]}
    assert numbers == {"2", "3"}
    assert [item["SK"]["N"] for item in said["page"]["Items"]] == ["1", "2"]
    assert said["page"]["LastEvaluatedKey"] == key(2)
    assert [item["SK"]["N"] for item in said["next"]["Items"]] == ["3", "4"]
    deep = {"M": {"deep": {"M": {"er": {"N": "-1"}}}}}
    assert said["index"]["Items"][0] == {"SK": {"N": "1"}, "map": deep}
    assert [item["SK"]["N"] for item in said["indexNext"]["Items"]] == ["4"]
    assert (said["scan"]["Count"], said["scan"]["ScannedCount"]) == (4, 4)
    assert said["transactWrite"] == {}
    first, second, third = said["transactGet"]["Responses"]
    assert (first["Item"]["SK"], second, third["Item"]) == ({"N": "5"}, {}, {"part": {"N": "1"}})
    assert said["cancelled"]["reasons"] == ["None", "ConditionalCheckFailed"]
    assert said["delete"]["Attributes"]["SK"] == {"N": "2"}
    assert said["noTable"]["error"] == "ResourceNotFoundException"
