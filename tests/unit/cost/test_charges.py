"""What single calls of DynamoDB consume, by the sizes in their request and reply."""

from typing import Any

from sharpwave.schemas import keys
from sharpwave.schemas.numbers import item_to_wire, to_wire
from sharpwave.workers.aws.meter import Names
from tests.cost.charges import charges
from tests.cost.sizes import Charge

NAMES = Names("demo")
ROW_KEY = keys.Key("agent:risk#inbox", "2026-01-01T00:00:00.000Z#uid")
ROW = item_to_wire({**ROW_KEY.item(), "status": "PENDING", "signal_id": "sig_1"})
SIGNAL = item_to_wire({"PK": "signal#ALERT#hunter", "SK": "2026#sig_1", "data": "x" * 950})
DECISION = item_to_wire(
    {
        "PK": "agent:hunter#decision#SELECT",
        "SK": "2026-01-01T00:00:00.000Z#dec_1",
        "agent_id": "hunter",
        "decision_type": "SELECT",
        "decision_id": "dec_1",
        "timestamp": 1_767_225_600,
    }
)
DECISIONS, SIGNALS, PIPELINE = "demo-agent_decisions", "demo-agent_signals", "demo-pipeline"
FAILED = {"Error": {"Code": "ConditionalCheckFailedException"}}


def charged(
    operation: str, request: dict[str, Any], reply: dict[str, Any] | None = None
) -> dict[str, tuple[int, float]]:
    found = charges(operation, request, reply or {}, NAMES)
    return {charge.what: (charge.number, charge.units) for charge in found}


def key(item: dict[str, Any]) -> dict[str, Any]:
    return {"PK": item["PK"], "SK": item["SK"]}


def test_a_new_decision_costs_its_size_and_two_index_entries() -> None:
    used = charged("dynamodb.PutItem", {"TableName": DECISIONS, "Item": DECISION})

    assert used == {"write:decision": (1, 1), "index:decision": (2, 2)}


def test_a_put_over_a_larger_item_costs_the_larger_one() -> None:
    request = {"TableName": SIGNALS, "Item": {**SIGNAL, "data": to_wire("small")}}

    used = charged(
        "dynamodb.PutItem", request, {"Attributes": {**SIGNAL, "b": to_wire("x" * 3000)}}
    )

    assert used == {"write:signal": (1, 4)}


def test_an_update_costs_the_whole_item_it_makes() -> None:
    """An outcome that makes a decision larger than a kilobyte costs two units, not one."""
    stored = {**DECISION, "context": to_wire("x" * 900)}
    request = {
        "TableName": DECISIONS,
        "Key": key(DECISION),
        "UpdateExpression": "SET #o = :o",
        "ExpressionAttributeNames": {"#o": "outcome"},
        "ExpressionAttributeValues": {":o": to_wire({"success": True, "note": "y" * 80})},
        "ReturnValues": "ALL_OLD",
    }

    used = charged("dynamodb.UpdateItem", request, {"Attributes": stored})

    assert used == {"write:decision": (1, 2), "index:decision": (1, 1)}


def test_a_removed_attribute_leaves_its_index() -> None:
    request = {
        "TableName": DECISIONS,
        "Key": key(DECISION),
        "UpdateExpression": "REMOVE decision_id SET seen = :yes",
        "ExpressionAttributeValues": {":yes": to_wire(True)},
        "ReturnValues": "ALL_OLD",
    }

    used = charged("dynamodb.UpdateItem", request, {"Attributes": DECISION})

    assert used == {"write:decision": (1, 1), "index:decision": (1, 1)}


def test_an_addition_to_a_ledger_costs_the_set_it_answers_with() -> None:
    slot = keys.ledger_slot("base:hunter:SELECT", "2026-01-01", "14")
    request = {
        "TableName": PIPELINE,
        "Key": slot.wire(),
        "UpdateExpression": "ADD e :elements",
        "ExpressionAttributeValues": {":elements": {"BS": [b"x" * 17]}},
        "ReturnValues": "ALL_NEW",
    }
    elements = {"BS": [bytes([number]) * 17 for number in range(150)]}

    used = charged("dynamodb.UpdateItem", request, {"Attributes": {**slot.wire(), "e": elements}})

    assert used == {"write:slot": (1, 3)}


def test_a_failed_condition_costs_as_a_write_and_other_errors_cost_nothing() -> None:
    request = {"TableName": SIGNALS, "Item": ROW}

    assert charged("dynamodb.PutItem", request, FAILED) == {"refused:row": (1, 1)}
    assert charged("dynamodb.PutItem", request, {"Error": {"Code": "ValidationException"}}) == {}


def test_a_failed_condition_costs_the_item_that_stands_in_the_way() -> None:
    reply = {**FAILED, "Item": {**ROW, "data": to_wire("x" * 2000)}}

    used = charged("dynamodb.PutItem", {"TableName": SIGNALS, "Item": ROW}, reply)

    assert used == {"refused:row": (1, 3)}


def test_a_transaction_costs_twice_and_when_it_is_cancelled_too() -> None:
    """A decision and the acknowledgement of what led to it: put, two entries, row."""
    update = {
        "TableName": SIGNALS,
        "Key": ROW_KEY.wire(),
        "UpdateExpression": "SET #status = :status",
        "ExpressionAttributeNames": {"#status": "status"},
        "ExpressionAttributeValues": {":status": to_wire("PROCESSED")},
    }
    put = {"TableName": DECISIONS, "Item": DECISION}
    request = {"TransactItems": [{"Put": put}, {"Update": update}]}

    done = charged("dynamodb.TransactWriteItems", request)
    cancelled = charged(
        "dynamodb.TransactWriteItems", request, {"Error": {"Code": "TransactionCanceledException"}}
    )

    assert done == {"write:decision": (1, 2), "index:decision": (2, 4), "write:row": (1, 2)}
    assert cancelled == {"write:decision": (1, 2), "write:row": (1, 2)}


def test_each_statement_of_a_batch_costs_as_the_write_it_stands_for() -> None:
    insert = f"INSERT INTO \"{SIGNALS}\" VALUE {{'PK': ?, 'SK': ?, 'data': ?}}"
    update = f'UPDATE "{SIGNALS}" SET "status_v" = ? WHERE PK = ? AND SK = ? AND "old" IS MISSING'
    row = [to_wire(part) for part in (*ROW_KEY, "x" * 1500)]
    statements = [
        {"Statement": insert, "Parameters": row},
        {"Statement": insert, "Parameters": row},
        {"Statement": update, "Parameters": [to_wire("x" * 70), SIGNAL["PK"], SIGNAL["SK"]]},
    ]
    answers = [{}, {"Error": {"Code": "DuplicateItem"}}, {"Item": SIGNAL}]

    found = charges(
        "dynamodb.BatchExecuteStatement", {"Statements": statements}, {"Responses": answers}, NAMES
    )

    assert list(found) == [
        Charge("write:row", 1, 2),
        Charge("refused:row", 1, 2),
        Charge("write:signal", 1, 2, guessed=False),
    ]


def test_a_change_of_an_item_not_seen_is_charged_the_least_it_can_be() -> None:
    text = f'UPDATE "{SIGNALS}" SET "status_v" = ? WHERE PK = ? AND SK = ?'
    statement = {"Statement": text, "Parameters": [to_wire(1), SIGNAL["PK"], SIGNAL["SK"]]}

    found = charges(
        "dynamodb.BatchExecuteStatement", {"Statements": [statement]}, {"Responses": [{}]}, NAMES
    )

    assert list(found) == [Charge("write:signal", 1, 1, guessed=True)]


def test_an_insert_enters_the_indexes_whose_keys_it_has() -> None:
    fields = ", ".join(f"'{name}': ?" for name in DECISION)
    statement = {
        "Statement": f'INSERT INTO "{DECISIONS}" VALUE {{{fields}}}',
        "Parameters": list(DECISION.values()),
    }

    used = charged(
        "dynamodb.BatchExecuteStatement", {"Statements": [statement]}, {"Responses": [{}]}
    )

    assert used == {"write:decision": (1, 1), "index:decision": (2, 2)}


def test_items_of_a_batch_read_are_rounded_singly_and_missing_ones_cost() -> None:
    asked = {"Keys": [ROW_KEY.wire()] * 3, "ConsistentRead": True}
    large = {**ROW, "data": to_wire("x" * 5000)}

    used = charged(
        "dynamodb.BatchGetItem",
        {"RequestItems": {SIGNALS: asked}},
        {"Responses": {SIGNALS: [ROW, large]}},
    )

    assert used == {"read:row": (3, 4)}


def test_a_query_is_rounded_as_a_whole_and_half_price_when_not_strong() -> None:
    request = {
        "TableName": SIGNALS,
        "ExpressionAttributeValues": {":pk": to_wire(ROW_KEY.pk)},
    }

    used = charged("dynamodb.Query", request, {"Items": [ROW] * 30})

    assert used == {"read:row": (30, 0.5)}
