"""A delivery whose dead letter is discarded ends as FAILED, for its row must not stay open."""

from collections.abc import Iterable

from sharpwave.infra.connection import Deployment
from sharpwave.infra.mailbox import Letter
from sharpwave.schemas import keys, tables
from sharpwave.schemas.messages import SignalMessage, parse_message
from sharpwave.schemas.ownership import stamped
from sharpwave.workers.adapters.tables import TableReads
from sharpwave.workers.adapters.writes import SingleWrites
from sharpwave.workers.mirror import Holder, Sent, mirror
from sharpwave.workers.ports import Change, Location, Write


def give_up(deployment: Deployment, letters: Iterable[Letter]) -> int:
    """Mark the deliveries of inbox messages FAILED, reason `dead_lettered`; safe to repeat.

    Returns:
        The number of rows that were still open.
    """
    reads = TableReads(deployment.dynamodb, prefix=deployment.prefix)
    writes = SingleWrites(deployment.dynamodb, prefix=deployment.prefix)
    places = {_row(message) for letter in letters for message in _signals(letter)}
    rows = reads.get(sorted(places))
    done = writes.apply([_failure(place) for place in rows])
    holders = {
        Holder(keys.Key(row["signal_pk"], row["signal_sk"]), row.get("chunk")): Sent()
        for row in rows.values()
    }
    mirror(holders, reads=reads, writes=writes)
    return sum(done)


def _signals(letter: Letter) -> list[SignalMessage]:
    try:
        message = parse_message(letter.body)
    except ValueError:
        return []
    return [message] if isinstance(message, SignalMessage) else []


def _row(message: SignalMessage) -> Location:
    return Location(tables.SIGNALS, keys.Key(message.row.PK, message.row.SK))


def _failure(place: Location) -> Write:
    values = {"status": "FAILED", "reason": "dead_lettered"}
    return Change(place, stamped(place.key, values), equals={"status": "PENDING"})
