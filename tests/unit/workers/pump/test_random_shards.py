"""Whatever splits, crashes and faults befall a stream, all is routed, parents before children."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharpwave.workers.work.outgoing import WorkMessage
from tests.world import Crash

if TYPE_CHECKING:
    from tests.unit.workers.pump.conftest import Bench

ACTIONS = ("put", "put", "step", "step", "split", "merge", "crash", "expire", "throttle", "sparse")
HISTORY = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 99)), max_size=40)


class History:
    """Plays actions against a bench and remembers what was written where."""

    def __init__(self, bench: "Bench", crash: type[Crash], fault: Any) -> None:
        self.bench = bench
        self.crash = crash
        self.fault = fault
        self.routed: list[str] = []
        self.written: dict[str, list[str]] = {}
        self.parents: dict[str, str] = {}
        bench.route = self.route
        for shard_id in ("s0", "s1"):
            bench.streams.add_shard(shard_id)
            self.written[shard_id] = []

    def route(self, table: str, records: Any) -> list[WorkMessage]:
        numbers = [record.change.sequence_number for record in records]
        self.routed += numbers
        return [WorkMessage("deliver", number, (number,)) for number in numbers]

    def play(self, action: str, choice: int) -> None:
        open_shards = [s for s in self.written if not self.bench.streams.shards[s].is_closed]
        shard_id = open_shards[choice % len(open_shards)]
        getattr(self, f"do_{action}")(shard_id, choice)

    def do_put(self, shard_id: str, choice: int) -> None:
        self.written[shard_id] += self.bench.streams.put(shard_id, choice % 5 + 1)

    def pump(self, passes: int = 1, *, every_s: float = 0.3) -> None:
        """Pass over the shards as `run` does: a stream that cannot be listed is tried again."""
        for _ in range(passes):
            with suppress(ClientError):
                self.bench.pump.step()
            self.bench.clock.advance(every_s)

    def do_step(self, shard_id: str, choice: int) -> None:
        self.pump(every_s=choice / 20)

    def do_split(self, shard_id: str, choice: int) -> None:
        self.succeed(shard_id, 2)

    def do_merge(self, shard_id: str, choice: int) -> None:
        self.succeed(shard_id, 1)

    def succeed(self, shard_id: str, count: int) -> None:
        children = [f"s{len(self.written) + i}" for i in range(count)]
        self.bench.streams.close(shard_id, *children)
        for child in children:
            self.written[child] = []
            self.parents[child] = shard_id

    def do_crash(self, shard_id: str, choice: int) -> None:
        def dies() -> None:
            raise self.crash

        moment = "after" if choice % 2 else "before"
        setattr(self.bench.sent, moment, dies)
        with suppress(self.crash):
            self.pump()
        setattr(self.bench.sent, moment, lambda: None)
        self.bench.restart()

    def do_expire(self, shard_id: str, choice: int) -> None:
        self.bench.streams.expire_iterators()

    def do_throttle(self, shard_id: str, choice: int) -> None:
        self.bench.streams.faults.append(self.fault("LimitExceededException"))
        self.pump(every_s=choice / 20)

    def do_sparse(self, shard_id: str, choice: int) -> None:
        self.bench.streams.empty_pages = choice % 4


def first_time(routed: list[str]) -> dict[str, int]:
    return {number: i for i, number in reversed(list(enumerate(routed)))}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=HISTORY, page_size=st.integers(1, 4))
def test_every_record_is_routed_in_order(
    make_bench: type["Bench"],
    crash: type[Crash],
    fault: Any,
    history: list[tuple[str, int]],
    page_size: int,
) -> None:
    played = History(make_bench(page_size=page_size), crash, fault)

    for action, choice in history:
        played.play(action, choice)
    played.bench.streams.empty_pages = 0
    played.pump(400, every_s=1.0)

    firsts = first_time(played.routed)
    for numbers in played.written.values():
        assert sorted(numbers, key=lambda n: firsts[n]) == numbers
    for child, parent in played.parents.items():
        earlier = [firsts[n] for n in played.written[parent]]
        later = [firsts[n] for n in played.written[child]]
        assert max(earlier, default=-1) < min(later, default=len(played.routed))
    assert played.bench.told.trimmed == []
    assert set(played.bench.sent.numbers) == set(firsts)
