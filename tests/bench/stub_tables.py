"""The tables of the benchmark's stub: what delivery asks of DynamoDB, and no more."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from tests.cost.statements import parse_statement

Fields = Mapping[str, Any]
Answer = dict[str, Any]
Item = dict[str, Any]


class Tables:
    """Items by table and key, in typed form; nobody has to make a table first.

    Statements are those of `workers/aws/writes.py`. An insertion fails if the item exists, a
    change if it does not or if an equality does not hold; `IS MISSING` is taken to hold.
    """

    def __init__(self) -> None:
        self._items: dict[tuple[str, str, str], Item] = {}
        self.actions = {
            "BatchExecuteStatement": self._execute,
            "BatchGetItem": self._get,
            "PutItem": self._put,
        }

    def fill(self, table: str, items: Iterable[Item]) -> None:
        """Put items in a table."""
        for item in items:
            self._items[_place(table, item)] = item

    def _execute(self, fields: Fields) -> Answer:
        asked = fields["Statements"]
        return {"Responses": [self._apply(each["Statement"], each["Parameters"]) for each in asked]}

    def _apply(self, text: str, parameters: Sequence[Any]) -> Answer:
        statement = parse_statement(text)
        assert statement is not None
        place = (
            statement.table,
            parameters[statement.pk]["S"],
            parameters[statement.sk]["S"],
        )
        held = self._items.get(place)
        named = zip(statement.names, parameters, strict=True)
        assigned = dict(islice(named, statement.assigned))
        if statement.verb == "INSERT":
            if held is not None:
                return _refused("DuplicateItem")
            self._items[place] = assigned
        else:
            if held is None or any(held.get(name) != value for name, value in named):
                return _refused("ConditionalCheckFailed")
            self._items[place] = held | assigned
        answer: Answer = {"TableName": statement.table}
        if held is not None and " RETURNING " in text:
            answer["Item"] = held
        return answer

    def _get(self, fields: Fields) -> Answer:
        found = {
            table: [item for key in asked["Keys"] if (item := self._items.get(_place(table, key)))]
            for table, asked in fields["RequestItems"].items()
        }
        return {"Responses": found, "UnprocessedKeys": {}}

    def _put(self, fields: Fields) -> Answer:
        self.fill(fields["TableName"], [fields["Item"]])
        return {}


def _place(table: str, item: Item) -> tuple[str, str, str]:
    return table, item["PK"]["S"], item["SK"]["S"]


def _refused(code: str) -> Answer:
    return {"Error": {"Code": code, "Message": code}}
