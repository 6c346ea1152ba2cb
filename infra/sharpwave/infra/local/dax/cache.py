"""What a cluster remembers of its tables: items, and queries as they were asked.

Reads that ask for consistency and transactional reads pass through and are not kept. A write goes
to DynamoDB first, then what it wrote replaces what is held; it touches no query.
"""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config

from sharpwave.infra.local.backend import LOCAL_CREDENTIALS
from sharpwave.infra.local.dax.items import Item, KeyPart, Schema
from sharpwave.producers.cache import (
    ITEM_TTL_S,
    QUERY_TTL_S,
    Expiring,
    ItemKey,
    MonotonicClock,
    item_key,
    request_key,
    written,
)
from sharpwave.schemas.endpoints import is_local

Params = dict[str, Any]
Reply = dict[str, Any]

#: Writes of one item follow each other, so that the last one is what stays.
_STRIPES = 64
_CONNECTIONS = 64


def dynamodb_client(endpoint_url: str | None, session: boto3.Session | None = None) -> Any:
    """Give a client for the tables behind a cluster: it neither tries again nor checks requests.

    Without an endpoint AWS's own settings hold; a local one needs neither region nor credentials.
    """
    local = LOCAL_CREDENTIALS if is_local(endpoint_url) and session is None else {}
    session = session or boto3.Session(
        local.get("AWS_ACCESS_KEY_ID"),
        local.get("AWS_SECRET_ACCESS_KEY"),
        region_name=local.get("AWS_REGION"),
    )
    config = Config(
        parameter_validation=False,
        retries={"mode": "standard", "total_max_attempts": 1},
        max_pool_connections=_CONNECTIONS,
    )
    return session.client("dynamodb", endpoint_url=endpoint_url, config=config)


@dataclass(frozen=True)
class CacheSettings:
    """A parameter group: how long items and queries are given, in seconds, and how many."""

    item_ttl_s: float = ITEM_TTL_S
    query_ttl_s: float = QUERY_TTL_S
    entries: int = 100_000


class CachedTables:
    """DynamoDB's data operations, answered from memory where DAX would.

    Args:
        dynamodb: a client of boto3 for the tables.
        settings: how long and how much is remembered.
        clock: monotonic seconds.

    Attributes:
        counters: `item_hits`, `item_misses`, `query_hits`, `query_misses`.
    """

    def __init__(
        self,
        dynamodb: Any,
        settings: CacheSettings | None = None,
        clock: MonotonicClock = time.monotonic,
    ) -> None:
        settings = settings or CacheSettings()
        self._dynamodb = dynamodb
        self._items: Expiring[ItemKey, Item | None] = Expiring(
            settings.item_ttl_s, settings.entries, clock
        )
        self._queries: Expiring[str, Reply] = Expiring(
            settings.query_ttl_s, settings.entries, clock
        )
        self._schemas: dict[str, Schema] = {}
        self._stripes = [Lock() for _ in range(_STRIPES)]
        self.counters: Counter[str] = Counter()

    def schema(self, table: str) -> Schema:
        """Give the key of a table, hash first; asked anew when it does not fit any more."""
        known = self._schemas.get(table)
        if known is None:
            about = self._dynamodb.describe_table(TableName=table)["Table"]
            kinds = {each["AttributeName"]: each for each in about["AttributeDefinitions"]}
            names = [
                each["AttributeName"]
                for kind in ("HASH", "RANGE")
                for each in about["KeySchema"]
                if each["KeyType"] == kind
            ]
            known = [KeyPart(name, kinds[name]["AttributeType"]) for name in names]
            self._schemas[table] = known
        return known

    def forget_schema(self, table: str) -> None:
        """Ask for the key of a table anew, which may have been deleted and made again."""
        self._schemas.pop(table, None)

    def get_item(self, params: Params) -> Reply:
        """Give a whole item, from memory if that may be."""
        if params.get("ConsistentRead"):
            return self._ask("get_item", params)
        key = item_key(params["TableName"], params["Key"])
        if (found := self._items.get(key)) is not None:
            self.counters["item_hits"] += 1
            return {} if found.value is None else {"Item": found.value}
        self.counters["item_misses"] += 1
        began = self._items.moment
        reply = self._ask("get_item", params)
        self._items.keep(key, reply.get("Item"), began)
        return reply

    def batch_get_item(self, params: Params) -> Reply:
        """Give whole items; only what is not in memory is asked for."""
        found: dict[str, list[Item]] = {table: [] for table in params["RequestItems"]}
        asked: dict[str, Params] = {}
        for table, wish in params["RequestItems"].items():
            missing = []
            for key in wish["Keys"]:
                held = None if wish["ConsistentRead"] else self._items.get(item_key(table, key))
                if held is None:
                    missing.append(key)
                elif held.value is not None:
                    found[table].append(held.value)
            if missing:
                asked[table] = {**wish, "Keys": missing}
        missed = sum(len(wish["Keys"]) for wish in asked.values())
        total = sum(len(wish["Keys"]) for wish in params["RequestItems"].values())
        self.counters.update(item_hits=total - missed, item_misses=missed)
        if not asked:
            return {"Responses": found}
        began = self._items.moment
        reply = self._ask("batch_get_item", {**params, "RequestItems": asked})
        for table, items in reply["Responses"].items():
            found[table] += items
        for table, wish in asked.items():
            # DAX passes strong reads on, and keeps nothing of them.
            if wish["ConsistentRead"]:
                continue
            unread = reply.get("UnprocessedKeys", {}).get(table, {}).get("Keys", ())
            left = {item_key(table, key) for key in unread}
            items = reply["Responses"].get(table, ())
            here = {item_key(table, self._key_of(table, item)): item for item in items}
            names = (item_key(table, key) for key in wish["Keys"])
            for name in (name for name in names if name not in left):
                self._items.keep(name, here.get(name), began)
        return {**reply, "Responses": found}

    def query(self, operation: str, params: Params) -> Reply:
        """Give a page of a `query` or `scan`, from memory if the same was asked before."""
        if params.get("ConsistentRead"):
            return self._ask(operation, params)
        key = request_key(operation, params)
        if (found := self._queries.get(key)) is not None:
            self.counters["query_hits"] += 1
            return found.value
        self.counters["query_misses"] += 1
        reply = self._ask(operation, params)
        page = {name: value for name, value in reply.items() if name != "ConsumedCapacity"}
        # No write touches a query, here as in DAX: a page is as old as its time to live lets it be.
        self._queries.keep(key, page, 0)
        return reply

    def transact_get_items(self, params: Params) -> Reply:
        """Pass through: what a transaction reads is not kept."""
        return self._ask("transact_get_items", params)

    def write(self, operation: str, params: Params) -> Reply:
        """Write to DynamoDB, then to memory: what was put, and what an update left behind."""
        is_silent = operation == "update_item" and params.get("ReturnValues", "NONE") == "NONE"
        if is_silent:
            # Asked for on the client's behalf, and taken out of the answer: memory has to know.
            params = {**params, "ReturnValues": "ALL_NEW"}
        keys = (item_key(each.table, each.key) for each in self._written(operation, params))
        with ExitStack() as held:
            # In one order, so that two batches do not wait for each other.
            for place in sorted({hash(key) % _STRIPES for key in keys}):
                held.enter_context(self._stripes[place])
            reply = self._ask(operation, params)
            for table, key, item in self._written(operation, params, reply):
                name = item_key(table, key)
                # Of an update in a transaction nothing says what it left behind.
                if item == "unknown":
                    fresh = {"TableName": table, "Key": key, "ConsistentRead": True}
                    item = self._ask("get_item", fresh).get("Item")
                self._items.write(name, item)
        if is_silent:
            reply.pop("Attributes", None)
        return reply

    def _written(self, operation: str, params: Params, reply: Reply | None = None) -> Any:
        return written(operation, params, reply or {}, self._key_of)

    def _key_of(self, table: str, item: Item) -> Item:
        return {part.name: item[part.name] for part in self.schema(table)}

    def _ask(self, operation: str, params: Params) -> Reply:
        reply: Reply = getattr(self._dynamodb, operation)(**params)
        reply.pop("ResponseMetadata", None)
        return reply
