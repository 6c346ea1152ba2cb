"""Every data call of Amazon's Python client means at the cluster what it means at DynamoDB."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from sharpwave.infra.local.dax import DaxServer


def key(number: int, pk: str = "p") -> dict[str, Any]:
    return {"PK": {"S": pk}, "SK": {"N": str(number)}}


def full(number: int) -> dict[str, Any]:
    """An item with a value of each type."""
    return {
        **key(number),
        "kind": {"S": "row"},
        "text": {"S": "grüße"},
        "empty": {"S": ""},
        "part": {"N": "1.25"},
        "long": {"N": "12345678901234567890123456789012345678"},
        "tiny": {"N": "-0.000001"},
        "bytes": {"B": b"\x00\xff"},
        "yes": {"BOOL": True},
        "none": {"NULL": True},
        "list": {"L": [{"S": "a"}, {"N": "1"}, {"L": []}, {"M": {}}]},
        "map": {"M": {"deep": {"M": {"er": {"N": "-7"}}}}},
        "words": {"SS": ["a", "b"]},
        "numbers": {"NS": ["1", "2.5"]},
        "blobs": {"BS": [b"x"]},
    }


def stored(dynamodb: Any, table: str, which: dict[str, Any]) -> Any:
    return dynamodb.get_item(TableName=table, Key=which, ConsistentRead=True).get("Item")


def test_an_item_of_every_type_comes_back_as_it_was_put(
    client: Any, dynamodb: Any, table: str
) -> None:
    client.put_item(TableName=table, Item=full(1))

    assert stored(dynamodb, table, key(1)) == full(1)
    for is_strong in (False, True):
        reply = client.get_item(TableName=table, Key=key(1), ConsistentRead=is_strong)
        assert reply["Item"] == full(1)


@pytest.mark.parametrize("text", ["0", "-12.5", "1E+30", "0.00001", "-99999", "7E-100", "9E+120"])
def test_numbers_in_keys_and_values_keep_their_worth(client: Any, table: str, text: str) -> None:
    which = {"PK": {"S": "p"}, "SK": {"N": text}}
    client.put_item(TableName=table, Item={**which, "n": {"N": text}})

    (found,) = client.query(
        TableName=table,
        KeyConditionExpression="PK = :p",
        ExpressionAttributeValues={":p": {"S": "p"}},
    )["Items"]

    assert float(found["SK"]["N"]) == float(found["n"]["N"]) == float(text)


def test_what_is_not_there_is_not_found(client: Any, table: str) -> None:
    assert client.get_item(TableName=table, Key=key(9)) == {}
    assert "Attributes" not in client.delete_item(
        TableName=table, Key=key(9), ReturnValues="ALL_OLD"
    )


def test_a_projection_reaches_into_lists_and_maps(client: Any, table: str) -> None:
    client.put_item(TableName=table, Item=full(1))
    wish = {"ProjectionExpression": "#l[1], #l[0], #m.deep.er, nothing", "TableName": table}
    names = {"#l": "list", "#m": "map"}
    expected = {
        "list": {"L": [{"S": "a"}, {"N": "1"}]},
        "map": {"M": {"deep": {"M": {"er": {"N": "-7"}}}}},
    }

    one = client.get_item(Key=key(1), ExpressionAttributeNames=names, **wish)
    page = client.scan(ExpressionAttributeNames=names, **wish)

    assert one["Item"] == expected
    assert page["Items"] == [expected]


def test_paths_that_overlap_are_refused(client: Any, table: str) -> None:
    with pytest.raises(ClientError, match="overlap") as caught:
        client.get_item(TableName=table, Key=key(1), ProjectionExpression="words, words[0]")

    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_an_update_of_all_its_kinds_is_done_as_written(
    client: Any, dynamodb: Any, table: str
) -> None:
    client.put_item(TableName=table, Item=full(1))
    change = {
        "UpdateExpression": "SET part = part + :one, #l[0] = :text, again = if_not_exists(again, "
        ":one), #l[1] = :text, tail = list_append(#l, #l) REMOVE yes, none ADD numbers :more "
        "DELETE words :gone",
        "ConditionExpression": "(size(words) = :two OR attribute_exists(nothing)) AND NOT "
        "contains(#l, :text) AND part BETWEEN :one AND :two AND kind IN (:text, :row) AND "
        "attribute_type(empty, :s) AND begins_with(kind, :r) AND PK <> :text AND "
        "attribute_not_exists(#m.missing) AND tiny <= part AND long > part",
        "ExpressionAttributeNames": {"#l": "list", "#m": "map"},
        "ExpressionAttributeValues": {
            ":one": {"N": "1"},
            ":two": {"N": "2"},
            ":text": {"S": "x"},
            ":row": {"S": "row"},
            ":r": {"S": "r"},
            ":s": {"S": "S"},
            ":more": {"NS": ["3"]},
            ":gone": {"SS": ["a"]},
        },
    }

    reply = client.update_item(TableName=table, Key=key(1), ReturnValues="ALL_NEW", **change)

    found = stored(dynamodb, table, key(1))
    assert reply["Attributes"] == found
    assert (found["part"], found["again"]) == ({"N": "2.25"}, {"N": "1"})
    assert found["list"]["L"][:2] == [{"S": "x"}, {"S": "x"}]
    assert sorted(found["numbers"]["NS"]) == ["1", "2.5", "3"]
    assert found["words"] == {"SS": ["b"]}
    assert not {"yes", "none"} & found.keys()


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("NONE", None),
        ("UPDATED_NEW", {"a": {"N": "2"}}),
        ("UPDATED_OLD", {"a": {"N": "1"}}),
        ("ALL_OLD", {**key(1), "a": {"N": "1"}, "b": {"S": "b"}}),
        ("ALL_NEW", {**key(1), "a": {"N": "2"}, "b": {"S": "b"}}),
    ],
)
def test_an_update_returns_what_it_is_asked_for(
    client: Any, table: str, wish: str, expected: Any
) -> None:
    client.put_item(TableName=table, Item={**key(1), "a": {"N": "1"}, "b": {"S": "b"}})

    reply = client.update_item(
        TableName=table,
        Key=key(1),
        UpdateExpression="ADD a :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
        ReturnValues=wish,
    )

    assert reply.get("Attributes") == expected
    # And whatever was asked for, the memory knows the item as it is now.
    item = client.get_item(TableName=table, Key=key(1))["Item"]
    assert item == {**key(1), "a": {"N": "2"}, "b": {"S": "b"}}


def test_pages_of_tables_and_indexes_follow_each_other(client: Any, table: str) -> None:
    for number in range(5):
        client.put_item(TableName=table, Item={**key(number), "kind": {"S": "row"}})
    of_table = {
        "KeyConditionExpression": "PK = :p AND SK BETWEEN :low AND :high",
        "ExpressionAttributeValues": {":p": {"S": "p"}, ":low": {"N": "1"}, ":high": {"N": "4"}},
    }
    of_index = {
        "IndexName": "GSI",
        "KeyConditionExpression": "kind = :k",
        "ExpressionAttributeValues": {":k": {"S": "row"}},
    }

    def numbers(operation: str, **wish: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = getattr(client, operation)(TableName=table, Limit=2, **wish)
            assert page["Count"] == len(page["Items"]) <= 2
            found += [item["SK"]["N"] for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return found
            wish["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    assert numbers("query", **of_table) == ["1", "2", "3", "4"]
    assert numbers("query", ScanIndexForward=False, **of_table) == ["4", "3", "2", "1"]
    assert numbers("query", **of_index) == ["0", "1", "2", "3", "4"]
    assert sorted(numbers("scan")) == ["0", "1", "2", "3", "4"]
    assert sorted(numbers("scan", IndexName="GSI")) == ["0", "1", "2", "3", "4"]


def test_a_scan_is_filtered_counted_and_cut_into_segments(client: Any, table: str) -> None:
    for number in range(4):
        client.put_item(TableName=table, Item=key(number, f"p{number}"))
    wish = {"FilterExpression": "SK > :n", "ExpressionAttributeValues": {":n": {"N": "1"}}}

    counted = client.scan(TableName=table, Select="COUNT", **wish)
    parts = [client.scan(TableName=table, Segment=n, TotalSegments=2) for n in (0, 1)]

    assert (counted["Count"], counted["ScannedCount"], "Items" in counted) == (2, 4, False)
    assert sum(part["Count"] for part in parts) == 4


def test_batches_write_and_read(client: Any, dynamodb: Any, table: str) -> None:
    client.put_item(TableName=table, Item=full(3))
    puts = [{"PutRequest": {"Item": full(number)}} for number in (1, 2)]

    written = client.batch_write_item(
        RequestItems={table: [*puts, {"DeleteRequest": {"Key": key(3)}}]}
    )
    read = client.batch_get_item(
        RequestItems={table: {"Keys": [key(1), key(2), key(3)], "ConsistentRead": True}}
    )
    part = client.batch_get_item(
        RequestItems={table: {"Keys": [key(1)], "ProjectionExpression": "kind"}}
    )

    assert written["UnprocessedItems"] == read["UnprocessedKeys"] == {}
    assert sorted(read["Responses"][table], key=lambda i: i["SK"]["N"]) == [full(1), full(2)]
    assert part["Responses"] == {table: [{"kind": {"S": "row"}}]}
    assert stored(dynamodb, table, key(3)) is None


def test_what_of_a_batch_was_not_done_is_handed_back(
    cluster: DaxServer, client: Any, dynamodb: Any, table: str
) -> None:
    puts = [{"PutRequest": {"Item": full(number)}} for number in (1, 2)]
    last = [{"DeleteRequest": {"Key": key(3)}}]
    cluster.faults.leave_unprocessed(times=2)

    written = client.batch_write_item(RequestItems={table: [*puts, *last]})
    read = client.batch_get_item(RequestItems={table: {"Keys": [key(1), key(2)]}})

    # The client forgets the key of what was not put.
    unkeyed = {name: each for name, each in full(2).items() if name not in key(2)}
    left = [{"PutRequest": {"Item": unkeyed}}, *last]
    assert written["UnprocessedItems"] == {table: left}
    assert stored(dynamodb, table, key(2)) is None
    assert read["UnprocessedKeys"] == {table: {"Keys": [key(2)]}}
    assert read["Responses"] == {table: [full(1)]}


def test_a_transaction_writes_all_parts_or_none(client: Any, dynamodb: Any, table: str) -> None:
    for number in (2, 3, 4):
        client.put_item(TableName=table, Item=full(number))
    one = {":one": {"N": "1"}}

    def write(number: int, *, condition: str) -> None:
        client.transact_write_items(
            TransactItems=[
                {"Put": {"TableName": table, "Item": full(number)}},
                {
                    "Update": {
                        "TableName": table,
                        "Key": key(2),
                        "UpdateExpression": "SET part = part + :one",
                        "ExpressionAttributeValues": one,
                    }
                },
                {"Delete": {"TableName": table, "Key": key(3)}},
                {
                    "ConditionCheck": {
                        "TableName": table,
                        "Key": key(4),
                        "ConditionExpression": condition,
                        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                    }
                },
            ]
        )

    write(1, condition="attribute_exists(PK)")
    with pytest.raises(ClientError) as caught:
        write(5, condition="attribute_not_exists(PK)")

    assert caught.value.response["Error"]["Code"] == "TransactionCanceledException"
    reasons = caught.value.cancellation_reasons  # type: ignore[attr-defined]
    assert reasons[0::3] == ["None", "None", "None", "ConditionalCheckFailed"]
    assert stored(dynamodb, table, key(5)) is None
    wish = [{"Get": {"TableName": table, "Key": key(number)}} for number in (1, 3)]
    projected = {"TableName": table, "Key": key(2), "ProjectionExpression": "part"}
    read = client.transact_get_items(TransactItems=[*wish, {"Get": projected}])
    assert read["Responses"] == [{"Item": full(1)}, {}, {"Item": {"part": {"N": "2.25"}}}]


def test_what_was_consumed_is_reported_where_dynamodb_was_asked(client: Any, table: str) -> None:
    wish: Any = {"ReturnConsumedCapacity": "INDEXES"}
    put = client.put_item(TableName=table, Item=full(1), **wish)
    strong = client.get_item(TableName=table, Key=key(1), ConsistentRead=True, **wish)
    batch = client.batch_get_item(RequestItems={table: {"Keys": [key(9)]}}, **wish)
    both = [{"Get": {"TableName": table, "Key": key(1)}}]
    transacted = client.transact_get_items(TransactItems=both, **wish)

    assert put["ConsumedCapacity"]["CapacityUnits"] >= 1.0
    assert strong["ConsumedCapacity"]["TableName"] == table
    assert [each["TableName"] for each in batch["ConsumedCapacity"]] == [table]
    assert [each["TableName"] for each in transacted["ConsumedCapacity"]] == [table]
    from_memory = client.get_item(TableName=table, Key=key(1), **wish)
    assert "ConsumedCapacity" not in from_memory


def test_an_error_of_dynamodb_keeps_its_name(client: Any, table: str) -> None:
    client.put_item(TableName=table, Item=full(1))

    def code(operation: str, **params: Any) -> Any:
        with pytest.raises(ClientError) as caught:
            getattr(client, operation)(**params)
        return caught.value.response["Error"]["Code"]

    put: Any = {"TableName": table, "Item": full(1)}
    wrong = {"UpdateExpression": "SET PK = :n"}
    values = {"ExpressionAttributeValues": {":n": {"N": "1"}}}
    condition = "attribute_not_exists(PK)"
    assert code("put_item", ConditionExpression=condition, **put) == (
        "ConditionalCheckFailedException"
    )
    assert code("get_item", TableName="no-such-table", Key=key(1)) == "ResourceNotFoundException"
    assert code("update_item", TableName=table, Key=key(1), **wrong, **values) == (
        "ValidationException"
    )
