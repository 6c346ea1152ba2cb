"""How answers are written: an empty array and the body, or an array of codes and an error."""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import uuid4

from sharpwave.infra.local.dax.cbor import encode
from sharpwave.infra.local.dax.items import AttributeLists, Schema, to_cbor

SUCCESS = encode([])

#: The last of the five codes that say which error of DynamoDB it is, after these four.
_OF_DYNAMODB = (4, 37, 38, 39)
_CODES: Mapping[str, tuple[int, ...]] = {
    "AccessDeniedException": (4, 37, 38, 42),
    **{
        name: (*_OF_DYNAMODB, last)
        for name, last in {
            "ProvisionedThroughputExceededException": 40,
            "ResourceNotFoundException": 41,
            "ConditionalCheckFailedException": 43,
            "ResourceInUseException": 45,
            "ValidationException": 46,
            "InternalServerError": 47,
            "ItemCollectionSizeLimitExceededException": 48,
            "LimitExceededException": 49,
            "ThrottlingException": 50,
            "TransactionConflictException": 57,
            "TransactionCanceledException": 58,
            "TransactionInProgressException": 59,
            "IdempotentParameterMismatchException": 60,
            "RequestLimitExceeded": 61,
        }.items()
    },
}
TABLE_MISSING = (4, 23, 24)
NOT_SIGNED_IN, SIGNATURE_WRONG = (4, 23, 31, 33), (4, 23, 31, 32)
NOT_IMPLEMENTED = (4, 37, 38, 44)
_CAPACITY = {
    "CapacityUnits": 1,
    "ReadCapacityUnits": 2,
    "WriteCapacityUnits": 3,
    "TableName": 4,
    "Table": 5,
    "GlobalSecondaryIndexes": 6,
    "LocalSecondaryIndexes": 7,
}


def failure(
    code: str,
    message: str,
    *,
    status: int = 400,
    codes: Iterable[int] = (),
    reasons: list[Any] | None = None,
) -> bytes:
    """Write an error.

    Args:
        code: DynamoDB's name of it.
        message: for people.
        status: of HTTP.
        codes: where it comes from; without them, what DAX says of DynamoDB's error of that name.
        reasons: for each part of a transaction three values: code, message, item.
    """
    numbers = list(codes or _CODES.get(code, (*_OF_DYNAMODB, 0)))
    about = [str(uuid4()), code, status, *([reasons] if reasons else [])]
    return encode(numbers, message, about)


def cancellation(
    reasons: list[Mapping[str, Any]], lists: AttributeLists, schemas: list[Schema]
) -> list[Any]:
    """Give the reasons for which a transaction was cancelled, as an error carries them."""
    found: list[Any] = []
    for reason, schema in zip(reasons, schemas, strict=False):
        item = reason.get("Item")
        found += [
            reason.get("Code", "None"),
            reason.get("Message"),
            lists.values(item, schema) if item else None,
        ]
    return found


def capacity(report: Mapping[str, Any]) -> bytes:
    """Write what one table's part of a request consumed."""
    whole = report.get("Table")
    return encode(
        report["TableName"],
        float(report["CapacityUnits"]),
        None if whole is None else float(whole["CapacityUnits"]),
        _by_index(report.get("GlobalSecondaryIndexes")),
        _by_index(report.get("LocalSecondaryIndexes")),
    )


def capacity_map(report: Mapping[str, Any]) -> dict[Any, Any]:
    """Give what one table's part of a transaction consumed, by numbers for names."""
    found: dict[Any, Any] = {}
    for name, value in report.items():
        if name in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes"):
            found[_CAPACITY[name]] = {index: capacity_map(each) for index, each in value.items()}
        elif name == "Table":
            found[_CAPACITY[name]] = capacity_map(value)
        elif name in _CAPACITY:
            found[_CAPACITY[name]] = value if name == "TableName" else float(value)
    return found


def collection(report: Mapping[str, Any]) -> bytes:
    """Write the size of a local index's collection."""
    (key,) = report["ItemCollectionKey"].values()
    low, high = report["SizeEstimateRangeGB"]
    return encode(to_cbor(key), float(low), float(high))


def collections(reports: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, list[bytes]]:
    """Give the sizes of collections, by table."""
    return {table: [collection(each) for each in some] for table, some in reports.items()}


def _by_index(reports: Mapping[str, Any] | None) -> dict[str, float] | None:
    if not reports:
        return None
    return {name: float(report["CapacityUnits"]) for name, report in reports.items()}
