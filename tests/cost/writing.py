"""Write units of DynamoDB's writes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sharpwave.schemas.numbers import Wire
from sharpwave.workers.aws.meter import Names
from tests.cost.sizes import (
    TRANSACTIONAL,
    Charge,
    entry,
    index_writes,
    item_write_units,
)
from tests.cost.statements import Statement, parse_statement, touched, updated

Request = Mapping[str, Any]
Item = Mapping[str, Wire]


def put_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a PutItem."""
    if "Error" in reply:
        yield _refused(reply.get("Item"), request["Item"], names)
        return
    yield from _changed(request["TableName"], reply.get("Attributes"), request["Item"], names)


def delete_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a DeleteItem."""
    if "Error" in reply:
        yield _refused(reply.get("Item"), request["Key"], names)
        return
    old = reply.get("Attributes")
    yield _written(old or request["Key"], names)
    yield from _indexed(request["TableName"], old, None, names)


def update_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge an UpdateItem."""
    if "Error" in reply:
        yield _refused(reply.get("Item"), updated(request, {}), names)
    elif request.get("ReturnValues") == "ALL_OLD":
        old = reply.get("Attributes")
        new = updated(request, old or {})
        yield from _changed(request["TableName"], old, new, names, guessed=False)
    else:
        yield from _updated_blindly(request, reply, names)


def batch_write_item(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a BatchWriteItem; what it left unprocessed is not billed."""
    left = reply.get("UnprocessedItems") or {}
    for table, writes in request["RequestItems"].items():
        for write in writes:
            if write in left.get(table, ()):
                continue
            if "PutRequest" in write:
                yield from _changed(table, None, write["PutRequest"]["Item"], names)
            else:
                yield _written(write["DeleteRequest"]["Key"], names)


def transact_write_items(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge a transaction, which is billed twice, and also when it is cancelled."""
    for part in request["TransactItems"]:
        for charge in _transacted(part, names):
            if "Error" not in reply or not charge.what.startswith("index:"):
                yield charge._replace(units=charge.units * TRANSACTIONAL)


def batch_execute_statement(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge PartiQL statements, each as the write it stands for; those refused cost too."""
    answers = reply.get("Responses", ())
    for each, answer in zip(request["Statements"], answers, strict=False):
        statement = parse_statement(each["Statement"])
        if statement is not None and statement.verb != "SELECT":
            yield from _executed(statement, each.get("Parameters", ()), answer, names)


def _executed(
    statement: Statement, parameters: Sequence[Wire], answer: Request, names: Names
) -> Iterator[Charge]:
    if not answer.keys() & {"Error", "Item"} and not statement.is_large(parameters):
        is_new = statement.verb == "INSERT"
        guessed = None if is_new else True
        yield Charge(f"write:{statement.family(parameters)}", 1, 1, guessed)
        if is_new and names.indexes(statement.table):
            yield from _indexed(statement.table, None, statement.image(parameters), names)
        return
    old, assigned = answer.get("Item"), statement.image(parameters)
    if "Error" in answer:
        yield _refused(answer["Error"].get("Item"), assigned, names)
    elif statement.verb == "DELETE":
        yield _written(old or assigned, names, guessed=old is None)
        yield from _indexed(statement.table, old, None, names)
    elif statement.verb == "INSERT":
        yield from _changed(statement.table, None, assigned, names)
    elif old is None:
        yield _written(assigned, names, guessed=True)
    else:
        yield from _changed(statement.table, old, {**old, **assigned}, names, guessed=False)


def _transacted(part: Request, names: Names) -> Iterator[Charge]:
    ((verb, request),) = part.items()
    if verb == "Put":
        yield from _changed(request["TableName"], None, request["Item"], names)
    elif verb == "Update":
        yield from _updated_blindly(request, {}, names)
    else:
        yield _written(request["Key"], names)


def _updated_blindly(request: Request, reply: Request, names: Names) -> Iterator[Charge]:
    """Charge an update of which at most the new image is known."""
    new = reply["Attributes"] if request.get("ReturnValues") == "ALL_NEW" else updated(request, {})
    is_seen = request.get("ReturnValues") == "ALL_NEW"
    yield _written({**new, **request["Key"]}, names, guessed=None if is_seen else True)
    changed = touched(request)
    for index in names.indexes(request["TableName"]):
        after = entry(index, new)
        if after is None or not changed & (after.keys() | set(index.include)):
            continue
        moved = bool(changed & {index.hash_key, index.range_key})
        units = item_write_units(after) * (2 if moved else 1)
        yield Charge(f"index:{names.item(request['Key'])}", 1, units)


def _changed(
    table: str, old: Item | None, new: Item, names: Names, *, guessed: bool | None = None
) -> Iterator[Charge]:
    units = item_write_units(new)
    if old:
        units = max(units, item_write_units(old))
    yield Charge(f"write:{names.item(new)}", 1, units, guessed)
    yield from _indexed(table, old, new, names)


def _indexed(table: str, old: Item | None, new: Item | None, names: Names) -> Iterator[Charge]:
    indexes = names.indexes(table)
    written = index_writes(indexes, old, new) if indexes else ()
    if written:
        thing = names.item(new or old or {})
        yield Charge(f"index:{thing}", len(written), sum(units for _, units in written))


def _written(item: Item, names: Names, *, guessed: bool | None = None) -> Charge:
    return Charge(f"write:{names.item(item)}", 1, item_write_units(item), guessed)


def _refused(stored: Item | None, attempted: Item, names: Names) -> Charge:
    units = max(item_write_units(each) for each in (stored or {}, attempted))
    return Charge(f"refused:{names.item(attempted)}", 1, units)
