"""What a cluster remembers, for how long, and what a write does to it; time is the test's own."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.infra.local.dax import CacheSettings, DaxServer
from tests.integration.dax.conftest import SETTINGS
from tests.world import VirtualClock

WHICH = {"PK": {"S": "p"}, "SK": {"N": "1"}}


def item(text: str) -> dict[str, Any]:
    return {**WHICH, "text": {"S": text}}


@pytest.fixture
def read(client: Any, table: str) -> Callable[[], str | None]:
    def read() -> str | None:
        found = client.get_item(TableName=table, Key=WHICH).get("Item")
        return found["text"]["S"] if found else None

    return read


@pytest.fixture
def listed(client: Any, table: str) -> Callable[[], list[str]]:
    def listed() -> list[str]:
        page = client.query(
            TableName=table,
            KeyConditionExpression="PK = :p",
            ExpressionAttributeValues={":p": {"S": "p"}},
        )
        return [each["text"]["S"] for each in page["Items"]]

    return listed


def test_a_write_beside_the_cluster_is_unseen_until_the_time_of_the_entry_is_over(
    read: Any, dynamodb: Any, table: str, clock: VirtualClock
) -> None:
    dynamodb.put_item(TableName=table, Item=item("old"))
    assert read() == "old"
    dynamodb.put_item(TableName=table, Item=item("new"))

    clock.advance(SETTINGS.item_ttl_s - 1)
    assert read() == "old"
    clock.advance(1)
    assert read() == "new"


def test_that_there_is_no_item_is_remembered_like_an_item(
    read: Any, client: Any, dynamodb: Any, table: str
) -> None:
    assert read() is None
    dynamodb.put_item(TableName=table, Item=item("beside"))
    assert read() is None

    client.put_item(TableName=table, Item=item("through"))

    assert read() == "through"


def test_a_write_through_the_cluster_is_seen_however_old_the_entry_is(
    read: Any, client: Any, dynamodb: Any, table: str, clock: VirtualClock
) -> None:
    dynamodb.put_item(TableName=table, Item=item("old"))
    read()
    clock.advance(SETTINGS.item_ttl_s - 1)
    client.put_item(TableName=table, Item=item("new"))
    clock.advance(SETTINGS.item_ttl_s - 1)
    # It is memory that answers, and its time began anew.
    dynamodb.put_item(TableName=table, Item=item("beside"))

    assert read() == "new"


@pytest.mark.parametrize("kind", ["update", "delete", "batch", "transaction"])
def test_every_kind_of_write_goes_through(
    read: Any, client: Any, dynamodb: Any, table: str, kind: str
) -> None:
    dynamodb.put_item(TableName=table, Item=item("old"))
    read()
    change = {
        "UpdateExpression": "SET #t = :t",
        "ExpressionAttributeNames": {"#t": "text"},
        "ExpressionAttributeValues": {":t": {"S": "new"}},
    }

    if kind == "update":
        client.update_item(TableName=table, Key=WHICH, **change)
    elif kind == "delete":
        client.delete_item(TableName=table, Key=WHICH)
    elif kind == "batch":
        client.batch_write_item(RequestItems={table: [{"PutRequest": {"Item": item("new")}}]})
    else:
        update = {"TableName": table, "Key": WHICH, **change}
        client.transact_write_items(TransactItems=[{"Update": update}])

    assert read() == (None if kind == "delete" else "new")


def test_a_write_that_fails_changes_nothing(read: Any, client: Any, table: str) -> None:
    client.put_item(TableName=table, Item=item("old"))

    with pytest.raises(ClientError, match="conditional"):
        client.put_item(
            TableName=table, Item=item("new"), ConditionExpression="attribute_not_exists(PK)"
        )

    assert read() == "old"


def test_no_write_touches_a_query(
    listed: Any, client: Any, table: str, clock: VirtualClock
) -> None:
    client.put_item(TableName=table, Item=item("old"))
    assert listed() == ["old"]
    client.put_item(TableName=table, Item=item("new"))

    clock.advance(SETTINGS.query_ttl_s - 1)
    assert listed() == ["old"]
    clock.advance(1)
    assert listed() == ["new"]


def test_a_query_does_not_fill_the_memory_of_items(
    read: Any, listed: Any, dynamodb: Any, table: str
) -> None:
    dynamodb.put_item(TableName=table, Item=item("old"))
    listed()
    dynamodb.put_item(TableName=table, Item=item("new"))

    assert (listed(), read()) == (["old"], "new")


def test_reads_that_ask_for_consistency_pass_through_and_are_not_kept(
    read: Any, client: Any, dynamodb: Any, table: str
) -> None:
    dynamodb.put_item(TableName=table, Item=item("old"))
    read()
    dynamodb.put_item(TableName=table, Item=item("new"))
    wish = {"TableName": table, "Key": WHICH}

    strong = client.get_item(ConsistentRead=True, **wish)["Item"]["text"]["S"]
    (transacted,) = client.transact_get_items(TransactItems=[{"Get": wish}])["Responses"]

    assert (strong, transacted["Item"]["text"]["S"], read()) == ("new", "new", "old")


def test_a_batch_asks_only_for_what_is_not_remembered(
    client: Any, cluster: DaxServer, dynamodb: Any, table: str
) -> None:
    other = {**WHICH, "SK": {"N": "2"}}
    dynamodb.put_item(TableName=table, Item=item("old"))
    client.get_item(TableName=table, Key=WHICH)
    dynamodb.put_item(TableName=table, Item=item("new"))
    wish = {table: {"Keys": [WHICH, other]}}

    first = client.batch_get_item(RequestItems=wish)["Responses"][table]
    again = client.batch_get_item(RequestItems=wish)["Responses"][table]

    assert first == again == [item("old")]
    assert cluster.counters == {"item_hits": 3, "item_misses": 2}


def test_what_was_not_used_for_longest_makes_room(
    start: Callable[..., DaxServer], connect: Any, dynamodb: Any, table: str
) -> None:
    client = connect(start(settings=CacheSettings(entries=2)))
    keys = [{**WHICH, "SK": {"N": str(number)}} for number in range(3)]

    def read(number: int) -> bool:
        return "Item" in client.get_item(TableName=table, Key=keys[number])

    seen = [read(0), read(1), read(0), read(2)]
    for key in keys:
        dynamodb.put_item(TableName=table, Item=key)

    assert seen == [False] * 4
    assert [read(2), read(0), read(1)] == [False, False, True]


def test_nodes_share_what_was_written(
    start: Callable[..., DaxServer], connect: Any, dynamodb: Any, table: str
) -> None:
    client = connect(start(ports=(0, 0, 0)))
    client.put_item(TableName=table, Item=item("old"))
    dynamodb.put_item(TableName=table, Item=item("beside"))

    texts = {client.get_item(TableName=table, Key=WHICH)["Item"]["text"]["S"] for _ in range(20)}

    assert texts == {"old"}
