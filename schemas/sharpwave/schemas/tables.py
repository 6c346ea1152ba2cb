"""The five tables as data. Provisioning, CDK and tests all read this one definition."""

from typing import Any, Literal, NamedTuple

DECISIONS, SIGNALS, STATE = "agent_decisions", "agent_signals", "agent_state"
MEMORY, PIPELINE = "agent_memory_ltm", "pipeline"

#: DynamoDB's own time to live works on this attribute, in epoch seconds.
TTL_ATTRIBUTE = "ttl"


class Index(NamedTuple):
    """A global secondary index; `include` lists what it carries beside its keys."""

    name: str
    hash_key: str
    range_key: str | None
    range_type: Literal["S", "N"] = "S"
    include: tuple[str, ...] = ()


class Table(NamedTuple):
    """A table with keys `PK` and `SK`, on-demand billing, TTL and point-in-time recovery."""

    name: str
    streamed: bool
    indexes: tuple[Index, ...] = ()


TABLES = (
    Table(
        DECISIONS,
        streamed=True,
        indexes=(
            Index("by_agent", "agent_id", "timestamp", "N", include=("outcome", "event_time")),
            Index("by_id", "decision_id", None),
        ),
    ),
    Table(SIGNALS, streamed=True),
    Table(STATE, streamed=True),
    Table(
        MEMORY,
        streamed=False,
        indexes=(
            Index("by_confidence", "GSI1_PK", "GSI1_SK", "N"),
            Index("shared_by_confidence", "GSI2_PK", "GSI2_SK", "N"),
        ),
    ),
    Table(PIPELINE, streamed=False),
)
STREAMED = tuple(table.name for table in TABLES if table.streamed)


def physical(name: str, prefix: str) -> str:
    """Give the name a table or queue has at AWS: `<prefix>-<name>`, or just `<name>`."""
    return f"{prefix}-{name}" if prefix else name


def create_request(table: Table, prefix: str = "") -> dict[str, Any]:
    """Give the parameters of CreateTable for one table."""
    types = {"PK": "S", "SK": "S"}
    for index in table.indexes:
        types[index.hash_key] = "S"
        if index.range_key:
            types[index.range_key] = index.range_type
    request: dict[str, Any] = {
        "TableName": physical(table.name, prefix),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": name, "AttributeType": kind} for name, kind in types.items()
        ],
        "KeySchema": _key_schema("PK", "SK"),
    }
    if table.indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index.name,
                "KeySchema": _key_schema(index.hash_key, index.range_key),
                "Projection": (
                    {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.include)}
                    if index.include
                    else {"ProjectionType": "KEYS_ONLY"}
                ),
            }
            for index in table.indexes
        ]
    if table.streamed:
        request["StreamSpecification"] = {
            "StreamEnabled": True,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        }
    return request


def _key_schema(hash_key: str, range_key: str | None) -> list[dict[str, str]]:
    schema = [{"AttributeName": hash_key, "KeyType": "HASH"}]
    if range_key:
        schema.append({"AttributeName": range_key, "KeyType": "RANGE"})
    return schema
