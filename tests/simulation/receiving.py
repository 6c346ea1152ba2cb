"""What agents do that receive by the SDK: a few messages at a time, from two processes."""

from random import Random

from sharpwave.producers.operations.receiving import Received
from sharpwave.schemas import keys, tables
from tests.simulation.answering import RANK
from tests.simulation.book import Handed
from tests.simulation.scene import Scene
from tests.simulation.stage import Stage
from tests.simulation.weather import Weather
from tests.world.agents import Clients, MemoryAgent

_PROCESSES = 2


class Receiving(Stage):
    """Agents that poll both of their queues, work what they are handed, and are started anew."""

    def __init__(self, scene: Scene, chance: Random, weather: Weather) -> None:
        """Start no process yet."""
        self._clients: dict[str, Clients] = {}
        self._processes: dict[tuple[str, int], MemoryAgent] = {}
        super().__init__(scene, chance, weather)

    def receive(self) -> None:
        """Receive once or more, and acknowledge most of what is handed out."""
        name = self.someone()
        which = name, self.chance.randrange(_PROCESSES)
        if which not in self._processes or self.chance.random() < 0.1:
            clients = self._clients.setdefault(name, Clients(self.scene))
            self._processes[which] = MemoryAgent(self.scene, name, clients)
        for _ in range(self.chance.choice([1, 2, 4])):
            self._receive(name, self._processes[which])

    def _receive(self, name: str, process: MemoryAgent) -> None:
        behind, inboxes = process.inbox.has_backlog, self.scene.inboxes
        is_hurried = behind and bool(inboxes.waiting(f"{name}_urgent"))
        leases = process.receive(self.chance.choice([1, 2, 3]))
        if is_hurried and not all("_urgent/" in lease.receipt for lease in leases):
            self.book.unhurried.append(f"{name} worked its backlog while something urgent waited")
        for lease in leases:
            received = process.admit(lease)
            if received is None:
                continue
            acknowledges = self.chance.random() < 0.8 and self._may_acknowledge(received.row)
            self.book.handed.append(Handed(received.row, self.book.moment(self.scene.clock())))
            if acknowledges:
                self._end(process, received)

    def _end(self, process: MemoryAgent, received: Received) -> None:
        end = {"status": "PROCESSED", "processed_at": int(self.scene.clock())}
        process.acknowledge(received)
        self.book.acknowledge(received.row, end, self.scene.clock())
        self.book.ended.setdefault(received.row, self.book.moment(self.scene.clock()))

    def _may_acknowledge(self, key: keys.Key) -> bool:
        """Say whether an acknowledgement is by the rules, whatever was done to the row before."""
        row = self.stored(tables.SIGNALS, key) or {}
        status = row.get("status")
        is_open = status in RANK and RANK[status] < RANK["PROCESSED"] and "signal_pk" in row
        is_forged = status == "EXPIRED" and "reason" not in row
        ended = any(
            RANK[each["status"]] >= RANK["PROCESSED"] for each in self.book.acknowledged[key]
        )
        return is_open and not is_forged and not ended
