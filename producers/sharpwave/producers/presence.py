"""A sign of life that an agent leaves while it does anything, for others to find it alive."""

from sharpwave.producers.call import Call, Identity
from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.schemas.times import DAY_S

#: From one sign to the next, and to the next try where it was refused, in seconds.
EVERY_S, _AGAIN_S = 60, 600
#: Who was not seen for longer is as one that never was.
_KEPT_S = 30 * DAY_S


class Presence:
    """When one process of an agent leaves its next sign.

    It lies in a table without a stream, in a partition of the agent's own: so it starts nothing,
    and IAM can bind it.
    """

    def __init__(self, me: Identity) -> None:
        """Leave the first sign with the first thing that is done."""
        self._me, self._next_at = me, 0.0

    def due(self) -> Call | None:
        """Give the write that is due, if one is; it counts as made then."""
        now = self._me.now()
        if now < self._next_at:
            return None
        self._next_at = now + EVERY_S
        values = {":now": now, ":ttl": now + _KEPT_S}
        params = {
            "TableName": self._me.table(tables.MEMORY),
            "Key": keys.seen(self._me.agent_id).wire(),
            "UpdateExpression": "SET last_seen = :now, #ttl = :ttl",
            "ExpressionAttributeNames": {"#ttl": "ttl"},
            "ExpressionAttributeValues": item_to_wire(values),
        }
        return Call("dynamodb", "update_item", params)

    def refused(self) -> None:
        """Leave none for a while: an older policy, say, does not allow it."""
        self._next_at = self._me.now() + _AGAIN_S
