"""A meter for emulators: it asks for the items that a call changes, and sizes decide.

DynamoDB itself says what a call consumed. Emulators say nothing or a constant, so they are asked
for the item as it was before the write instead, and the answer is hidden from the caller. Reading
those items takes time, so after the first few only a sample is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sharpwave.workers.aws.meter import Charge as Told
from sharpwave.workers.aws.meter import Meter
from tests.cost.charges import charges
from tests.cost.sizes import Charge
from tests.cost.statements import parse_statement

_SINGLE = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
#: So many changes of one kind are seen whole at first, and one of so many later.
FIRST, EVERY = 32, 32
_RETURNING = " RETURNING ALL OLD *"
_ASKED = "estimate_asked"


class Estimate(Meter):
    """Counts calls as `Meter` does, and rates those of DynamoDB by the sizes of items."""

    def __init__(self, *, prefix: str = "") -> None:
        """Start with nothing seen."""
        super().__init__(prefix=prefix)
        self._number: dict[str, int] = {}
        self._seen: dict[str, list[float]] = {}

    def watch_events(self, events: Any) -> None:
        """Count the calls of clients yet to be made, and ask for what they change."""
        events.register("before-parameter-build", self._ask)
        super().watch_events(events)
        events.register("after-call", self._hide)

    def charges(
        self, operation: str, request: Mapping[str, Any], reply: Mapping[str, Any]
    ) -> Iterator[Told]:
        """Give what a call consumed, by the rules DynamoDB bills it with."""
        if not operation.startswith("dynamodb."):
            yield from super().charges(operation, request, reply)
            return
        for charge in charges(operation, request, reply, self.names):
            units = charge.units if charge.guessed is None else self._changed(charge)
            yield Told(charge.what, charge.number, units)

    def _changed(self, charge: Charge) -> float:
        """Give the units of a change; one not seen costs what those that were seen cost."""
        seen = self._seen.setdefault(charge.what, [0, 0.0])
        if not charge.guessed:
            seen[0] += charge.number
            seen[1] += charge.units
        elif seen[0]:
            return max(charge.units, charge.number * seen[1] / seen[0])
        return charge.units

    def _ask(self, params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Have a backend return the items a call changes, of those the sample takes."""
        asked: Sequence[int] = ()
        if model.name in _SINGLE and "ReturnValues" not in params:
            key = params.get("Key") or params.get("Item") or {}
            if self._takes(f"{model.name} {self.names.item(key)}"):
                params["ReturnValues"] = "ALL_OLD"
                asked = (0,)
        if model.name == "BatchExecuteStatement":
            before = params["Statements"]
            after = [self._returning(each) for each in before]
            asked = [place for place, each in enumerate(after) if each is not before[place]]
            params["Statements"] = after
        context[_ASKED] = asked

    def _hide(self, parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """Take out of a reply what only this asked for."""
        asked = context.get(_ASKED, ())
        if asked and model.name in _SINGLE:
            parsed.pop("Attributes", None)
        elif asked:
            answers = parsed.get("Responses", ())
            for place in asked:
                if place < len(answers) and "Error" not in answers[place]:
                    answers[place].pop("Item", None)

    def _returning(self, statement: Mapping[str, Any]) -> Mapping[str, Any]:
        text = statement["Statement"]
        if text.startswith("INSERT") or " RETURNING " in text:
            return statement
        parsed = parse_statement(text)
        if parsed is None or parsed.verb not in ("UPDATE", "DELETE"):
            return statement
        if not self._takes(f"{parsed.table} {len(parsed.names)}"):
            return statement
        return {**statement, "Statement": text + _RETURNING}

    def _takes(self, kind: str) -> bool:
        """Say whether a change is to be seen; threads may race and see one more."""
        number = self._number[kind] = self._number.get(kind, 0) + 1
        return number <= FIRST or number % EVERY == 0
