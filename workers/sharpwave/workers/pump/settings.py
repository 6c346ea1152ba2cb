"""How a pump behaves; the composition root builds these from the environment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PumpSettings:
    """Pace and bookkeeping of one pump; every time is in seconds.

    Attributes:
        page_limit: records per GetRecords, 1 to 1000.
        checkpoint_records: records after which the position is saved.
        checkpoint_every_s: most time an accepted position stays unsaved.
        busy_wait_s: from one read to the next while traffic is recent, unless pages are full;
            below 0.2 only against a local backend, AWS allows 5 reads a second per shard.
        busy_for_s: how long traffic counts as recent.
        idle_wait_s: the wait an idle table backs off to.
        doubt_s: age from which a position is proved again before a page is believed.
        prove_idle_s: how often an idle shard's position is proved to exist.
        renew_idle_s: how often an idle shard gets a fresh iterator.
        discover_s: how often the stream and its shards are looked at.
        heartbeat_s: how often progress is reported.
        backoff_base_s: first ceiling of the wait after an error.
        backoff_cap_s: greatest ceiling of the wait after an error.
    """

    page_limit: int = 1000
    checkpoint_records: int = 1000
    checkpoint_every_s: float = 1.0
    busy_wait_s: float = 0.01
    busy_for_s: float = 1.0
    idle_wait_s: float = 0.2
    doubt_s: float = 0.2
    prove_idle_s: float = 2.0
    renew_idle_s: float = 60.0
    discover_s: float = 10.0
    heartbeat_s: float = 5.0
    backoff_base_s: float = 0.1
    backoff_cap_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderSettings:
    """Limits and retries of a sender.

    Attributes:
        max_batch_bytes: most bytes of all bodies in one SendMessageBatch.
        parallel: SendMessageBatch calls in flight at once.
        backoff_base_s: first ceiling of the wait after a refusal that is not the message's fault.
        backoff_cap_s: greatest ceiling of that wait.
    """

    max_batch_bytes: int = 1_048_576
    parallel: int = 8
    backoff_base_s: float = 0.05
    backoff_cap_s: float = 5.0
