"""What agents do with what they receive: acknowledge by the rules, oddly, or not at all."""

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import signal_uid
from sharpwave.schemas.messages import SignalMessage, parse_message
from sharpwave.workers.work.ports import Item
from tests.simulation.stage import Stage

RANK = {"PENDING": 0, "EXPIRED": 2, "FAILED": 3, "PROCESSED": 4}


class Answering(Stage):
    """Inboxes and their rows."""

    def answer(self) -> None:
        """Take one message from an inbox and acknowledge it, sometimes twice, sometimes not."""
        name = self.chance.choice(self.registered() or self.names)
        waiting = self.scene.inboxes.waiting(name)
        if not waiting:
            return
        body = self.chance.choice(waiting)
        message = parse_message(body)
        if isinstance(message, SignalMessage) and self.chance.random() < 0.6:
            self._acknowledge(keys.Key(message.row.PK, message.row.SK))
        if self.chance.random() < 0.8:
            self.scene.inboxes.delete(name, body)

    def answer_late(self) -> None:
        """Acknowledge a row that may have expired meanwhile."""
        key = self._some_row("EXPIRED", "PENDING")
        if key:
            self._acknowledge(key)

    def acknowledge_oddly(self) -> None:
        """Acknowledge and also write attributes that are a worker's."""
        key = self._some_row("PENDING")
        if key:
            odd: Item = self.chance.choice(
                [
                    {"worker_rev": self.name("mine-")},
                    {"signal_pk": "signal#OTHER", "signal_sk": "elsewhere"},
                    {"chunk": "nowhere"},
                    {"expires_at": 1},
                    {"source_agent": "mallory", "timestamp": 1},
                ]
            )
            self._acknowledge(key, **odd)

    def spoil_row(self) -> None:
        """Set a row to a status it cannot take."""
        key = self._some_row("PENDING", "PROCESSED")
        row = self.stored(tables.SIGNALS, key) if key else None
        if key and row:
            status = self.chance.choice(["DONE", "DELIVERED", "EXPIRED", "PENDING"])
            if row["status"] != status:
                self.update(tables.SIGNALS, key, {"status": status})
                self.must_refuse(tables.SIGNALS, key, _owner(key))

    def overwrite_row(self) -> None:
        """Acknowledge by PutItem, and so remove what the worker had written."""
        key = self._some_row("PENDING")
        if key:
            moment = int(self.scene.clock())
            end = {"status": "PROCESSED", "processed_at": moment}
            self.put(tables.SIGNALS, {**key.item(), **end})
            self.book.acknowledge(key, end, self.scene.clock())

    def drop_row(self) -> None:
        """Delete a row, acknowledged or not."""
        key = self._some_row("PENDING", "PROCESSED", "FAILED")
        if key and not self.book.gaps:
            self.scene.tables.remove(tables.SIGNALS, key)
            self.book.dropped[key] = self.book.moment(self.scene.clock())

    def forge_row(self) -> None:
        """Put a row where a worker's would be, or for a signal that is for somebody else."""
        sent = self.chance.choice(list(self.book.signals.values()) or [None])
        if sent is None:
            return
        key = keys.inbox_row(self.someone(), sent.key, signal_uid(*sent.key))
        if self.stored(tables.SIGNALS, key) is None and key not in self.book.dropped:
            moment = int(self.scene.clock())
            self.put(tables.SIGNALS, {**key.item(), "status": "PROCESSED", "processed_at": moment})
            self.book.forged.add(key)

    def _acknowledge(self, key: keys.Key, **more: object) -> None:
        row = self.stored(tables.SIGNALS, key)
        if row is None:
            return
        status = self.chance.choice(["PROCESSED", "PROCESSED", "FAILED"])
        # Only a rise in rank from a status that a row may have is by the rules.
        if row.get("status") not in RANK or RANK[row["status"]] >= RANK[status]:
            return
        if row["status"] == "EXPIRED" and "reason" not in row:
            return
        # Nor is it by the rules to lower what was said before the row was spoilt.
        if any(RANK[each["status"]] >= RANK[status] for each in self.book.acknowledged[key]):
            return
        end: Item = {"status": status, "processed_at": int(self.scene.clock())}
        if status == "FAILED":
            end["reason"] = "no use"
        elif self.chance.random() < 0.5:
            end["decision_id"] = self.name("d")
        self.update(tables.SIGNALS, key, {**end, **more})
        self.book.acknowledge(key, end, self.scene.clock())

    def _some_row(self, *statuses: str) -> keys.Key | None:
        found = self.scene.tables.keys(tables.SIGNALS)
        rows = [key for key in found if key.pk.endswith("#inbox")]
        if not rows:
            return None
        key = self.chance.choice(rows)
        row = self.stored(tables.SIGNALS, key) or {}
        fits = row.get("status") in statuses and "signal_pk" in row
        return key if fits and row.get("signal_pk") != "signal#OTHER" else None


def _owner(key: keys.Key) -> str:
    return key.pk.removeprefix("agent:").removesuffix("#inbox")
