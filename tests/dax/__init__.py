"""Tables for a DAX cluster in tests, and Amazon's own client for it."""

from typing import Any
from uuid import uuid4

from amazondax import AmazonDaxClient  # type: ignore[import-untyped]
from botocore.config import Config

KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


def create_table(dynamodb: Any, sort_key: str = "N") -> str:
    """Make a table with the keys PK and SK and the index GSI over `kind` and SK; gives its name."""
    name = f"dax-{uuid4().hex[:12]}"
    kinds = {"PK": "S", "SK": sort_key, "kind": "S"}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": each, "AttributeType": kind} for each, kind in kinds.items()
        ],
        KeySchema=_schema("PK"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": "GSI",
                "KeySchema": _schema("kind"),
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
    )
    return name


def official_client(endpoint: str, **options: Any) -> Any:
    """Connect Amazon's client, as it comes, but for its patience."""
    config = Config(connect_timeout=2, read_timeout=5, retries={"max_attempts": 0})
    return AmazonDaxClient(endpoint_url=endpoint, **{"config": config, **KEYS, **options})


def _schema(first: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": first, "KeyType": "HASH"},
        {"AttributeName": "SK", "KeyType": "RANGE"},
    ]
