"""Keys are built and read in one place, and what is built reads back as what it was."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpwave.schemas import keys, tables
from sharpwave.schemas.ids import AGENT_ID, RECORD_ID, TYPE_NAME, is_agent_id, is_record_id
from sharpwave.schemas.keys import Key, Parsed
from sharpwave.schemas.times import iso_ms

AGENTS = st.from_regex(AGENT_ID, fullmatch=True).filter(is_agent_id)
TYPES = st.from_regex(TYPE_NAME.removesuffix("$"), fullmatch=True)
RECORDS = st.from_regex(RECORD_ID, fullmatch=True).filter(is_record_id)
TIMES = st.integers(0, 4_000_000_000).map(iso_ms)


@given(AGENTS, TYPES, TIMES, RECORDS)
def test_a_decisions_key_reads_back(agent: str, kind: str, iso: str, name: str) -> None:
    pk, sk = keys.decision_pk(agent, kind), keys.dated_sk(iso, name)

    assert keys.parse(tables.DECISIONS, pk, sk) == Parsed("decision", agent, kind)
    assert keys.split_dated_sk(sk) == (iso, name)
    assert keys.owner_of(pk) == agent


@given(AGENTS, TYPES, TIMES, RECORDS)
def test_a_signals_key_reads_back_in_both_forms(agent: str, kind: str, iso: str, name: str) -> None:
    sk = keys.dated_sk(iso, name)

    strict = keys.parse(tables.SIGNALS, keys.signal_pk(kind, agent), sk)
    compatible = keys.parse(tables.SIGNALS, keys.signal_pk(kind), sk)

    owner = None if agent.isdigit() else agent
    assert strict == Parsed("signal", owner, kind)
    assert keys.owner_of(keys.signal_pk(kind, agent)) == owner
    assert compatible == Parsed("signal", None, kind)


@pytest.mark.parametrize("shard", ["0", "3", "42", "007"])
def test_digits_after_a_signals_type_are_a_shard_and_no_agent(shard: str) -> None:
    pk = f"signal#T#{shard}"

    assert keys.parse(tables.SIGNALS, pk, "2025-10-18T14:30:00Z#s1") == Parsed("signal", None, "T")
    assert keys.owner_of(pk) is None


@pytest.mark.parametrize("agent", ["3a", "a3", "1-2", "0x"])
def test_an_agent_whose_name_has_more_than_digits_is_bound(agent: str) -> None:
    assert keys.owner_of(f"signal#T#{agent}") == agent


@given(AGENTS, TIMES)
def test_a_rows_key_reads_back_and_sorts_by_time(agent: str, iso: str) -> None:
    row = keys.inbox_row(agent, Key("signal#T", f"{iso}#s1"), "uid")

    assert keys.parse(tables.SIGNALS, *row) == Parsed("inbox_row", agent, None)
    assert row.sk.startswith(iso)


@pytest.mark.parametrize(
    ("iso", "expected"),
    [
        ("2025-10-18T14:30:00Z", "2025-10-18T14:30:00.000Z"),
        ("2025-10-18T14:30:00.1Z", "2025-10-18T14:30:00.100Z"),
        ("2025-10-18T14:30:00.123456Z", "2025-10-18T14:30:00.123Z"),
    ],
)
def test_rows_have_exactly_milliseconds(iso: str, expected: str) -> None:
    assert keys.inbox_sk(iso, "uid") == f"{expected}#uid"


@given(AGENTS, st.sampled_from(keys.MEMORY_TYPES + keys.LASTING_TYPES), TIMES, RECORDS)
def test_the_keys_of_an_agents_state_read_back(agent: str, kind: str, iso: str, name: str) -> None:
    entry = keys.memory_pk(agent, kind), keys.dated_sk(iso, name)

    assert keys.parse(tables.STATE, *entry) == Parsed("memory", agent, kind)
    assert keys.parse(tables.STATE, *keys.registration(agent)) == Parsed(
        "registration", agent, None
    )
    assert keys.parse(tables.STATE, *keys.current_state(agent)) == Parsed("state", agent, "CURRENT")
    assert keys.parse(tables.STATE, *keys.limit(agent, name)) == Parsed("limit", agent, None)
    metrics = keys.metrics(agent, "TRADE")
    assert keys.parse(tables.STATE, *metrics) == Parsed("metrics", agent, "TRADE")
    assert keys.parse(tables.STATE, metrics.pk, "trade") is None
    for copy in ("CHECKPOINT", "BACKUP"):
        saved = keys.saved_state(agent, copy, iso)
        assert keys.parse(tables.STATE, *saved) == Parsed("state", agent, copy)


@pytest.mark.parametrize(
    ("table", "pk", "sk"),
    [
        (tables.DECISIONS, "agent:ann#decision#trade", "2025-10-18T14:30:00Z#d"),
        (tables.DECISIONS, "agent:ann#decision#TRADE", "2025-10-18T14:30:00#d"),
        (tables.DECISIONS, "agent:ann#decision#TRADE", "2025-10-18T14:30:00Z"),
        (tables.DECISIONS, "agent:ann#decision#TRADE#decision#T", "2025-10-18T14:30:00Z#d"),
        (tables.DECISIONS, "agent:An#decision#TRADE", "2025-10-18T14:30:00Z#d"),
        (tables.DECISIONS, "agent:None#decision#TRADE", "2025-10-18T14:30:00Z#d"),
        (tables.SIGNALS, "signal#T#a#b", "2025-10-18T14:30:00Z#s"),
        (tables.SIGNALS, "signal#T#A", "2025-10-18T14:30:00Z#s"),
        (tables.SIGNALS, "signal#T\n", "2025-10-18T14:30:00Z#s"),
        (tables.SIGNALS, "signals#T", "2025-10-18T14:30:00Z#s"),
        (tables.SIGNALS, "agent:ann#inbox#x", "2025-10-18T14:30:00Z#s"),
        (tables.STATE, "agent:ann", "CHECKPOINT"),
        (tables.STATE, "agent:ann", "OTHER"),
        (tables.STATE, "agent:ann", "LIMIT"),
        (tables.STATE, "agent:ann", "LIMIT#no key"),
        (tables.STATE, "agent:ann#memory#DREAM", "2025-10-18T14:30:00Z#m"),
        (tables.STATE, "", ""),
    ],
)
def test_a_key_of_no_known_shape_stands_for_nothing(table: str, pk: str, sk: str) -> None:
    assert keys.parse(table, pk, sk) is None


@given(st.sampled_from(tables.STREAMED), st.text(), st.text())
def test_any_text_can_be_read_as_a_key(table: str, pk: str, sk: str) -> None:
    keys.parse(table, pk, sk)
    keys.owner_of(pk)
    assert keys.family(pk, sk)


@pytest.mark.parametrize(
    ("pk", "owner"),
    [
        ("agent:ann", "ann"),
        ("agent:ann#inbox", "ann"),
        ("agent:a#b#c", "a"),
        ("signal#T#ann", "ann"),
        ("signal#T", None),
        ("signal#T#ann#x", None),
        ("agent:", None),
        ("agent:AN#inbox", None),
        ("shared#pattern#x", None),
    ],
)
def test_a_key_binds_at_most_one_agent(pk: str, owner: str | None) -> None:
    assert keys.owner_of(pk) == owner


SIGNAL = Key("signal#ALERT#ann", "2025-10-18T14:30:00Z#s1")
#: Every key and partition, as it stands in tables that exist: another form would not be found.
#: Each is made within its test, for what is made at import no mutant changes.
STORED: list[tuple[Callable[[], Key | str], str, str]] = [
    (lambda: keys.decision_pk("ann", "TRADE"), "agent:ann#decision#TRADE", "decision"),
    (lambda: keys.signal_pk("ALERT"), "signal#ALERT", "signal"),
    (lambda: keys.signal_pk("ALERT", "ann"), "signal#ALERT#ann", "signal"),
    (
        lambda: keys.inbox_row("bob", SIGNAL, "u"),
        "agent:bob#inbox / 2025-10-18T14:30:00.000Z#u",
        "row",
    ),
    (lambda: keys.registration("ann"), "agent:ann / REGISTRATION", "registration"),
    (lambda: keys.current_state("ann"), "agent:ann / CURRENT", "state"),
    (lambda: keys.saved_state("ann", "BACKUP", "2025"), "agent:ann / BACKUP#2025", "state"),
    (lambda: keys.limit("ann", "openai"), "agent:ann / LIMIT#openai", "limit"),
    (lambda: keys.metrics("ann", "TRADE"), "agent:ann#metrics / TRADE", "metrics"),
    (lambda: keys.source_name("ann", 255), "names#ann / 000000ff", "names"),
    (lambda: keys.memory_pk("ann", "NOTE"), "agent:ann#memory#NOTE", "memory"),
    (lambda: keys.pattern_pk("ann"), "agent:ann#pattern", "pattern"),
    (lambda: keys.shared_pattern_pk("fx"), "shared#pattern#fx", "pattern"),
    (lambda: keys.mirror(SIGNAL), f"{SIGNAL.pk} / {SIGNAL.sk}#status", "mirror"),
    (lambda: keys.fact("ann", "NOTE", "2025#m1"), "agent:ann#fact / NOTE#2025#m1", "fact"),
    (
        lambda: keys.fact("ann", "STRATEGY", "2025#m1"),
        "agent:ann#strategy / STRATEGY#2025#m1",
        "strategy",
    ),
    (lambda: keys.granted_pk("bob"), "agent:bob#granted", "granted"),
    (lambda: keys.granted_domain_pk("fx"), "granted#fx", "granted"),
    (lambda: keys.episode("ann", "TRADE", "2025"), "agent:ann#episode / TRADE#2025", "episode"),
    (lambda: keys.strategy_pk("ann"), "agent:ann#strategy", "strategy"),
    (lambda: keys.writer("TRADE", "ann"), "shared#writers#TRADE / ann", "writers"),
    (
        lambda: keys.child("d0", keys.Key("agent:ann#decision#TRADE", "2025#d1")),
        "shared#children#d0 / 2025#d1|agent:ann#decision#TRADE",
        "children",
    ),
    (
        lambda: keys.episode_sources("ann", "TRADE", "2025-10-18", "14"),
        "sources#ann#TRADE / 2025-10-18#14",
        "sources",
    ),
    (
        lambda: keys.shared_pattern_copy("bob", "ann", "up"),
        "agent:bob#shared / pattern#ann#up",
        "pattern",
    ),
    (lambda: keys.checkpoint("agent_state", "s-1"), "checkpoint#agent_state / s-1", "checkpoint"),
    (lambda: keys.audience("u"), "audience#u / 00000", "audience"),
    (lambda: keys.audience("u", 12), "audience#u / 00012", "audience"),
    (lambda: keys.late_chunk("u", "ann"), "audience#u / late#ann", "audience"),
    (lambda: keys.quota_verdict("u"), "audience#u / quota", "audience"),
    (lambda: keys.resolved("*", "2025", "u"), "resolved#* / 2025#u", "resolved"),
    (lambda: keys.due(29_000_000, 3, "e"), "due#29000000#3 / e", "due"),
    (lambda: keys.due_minute(29_000_000), "due / 29000000", "due"),
    (lambda: keys.known_agent("ann"), "agents / ann", "agents"),
    (lambda: keys.known_pattern("pattern:ann:up@1"), "patterns / pattern:ann:up@1", "patterns"),
    (lambda: keys.judged(), "judged / patterns", "judged"),
    (lambda: keys.life("pattern:ann:up@1", 7), "life#pattern:ann:up@1 / 000007", "life"),
    (lambda: keys.promotions("ann"), "promotions / ann", "promotions"),
    (lambda: keys.parked("t", "pk", "sk", "e"), "parked#t#2 / pk|sk|e", "parked"),
    (lambda: keys.ledger_slot("s", "2025", "14"), "ledger#s / L#2025#14", "slot"),
    (lambda: keys.ledger_head("s", "2025"), "ledger#s / H#2025", "head"),
    (lambda: keys.ledger_head("s", "2025", "14"), "ledger#s / H#2025#14", "head"),
    (lambda: keys.ledger_day("s", "2025"), "ledger#s / D#2025", "day"),
    (lambda: keys.ledger_total("s"), "ledger#s / T", "day"),
    (lambda: keys.changed("s", "2025"), "changed#6 / s|2025", "changed"),
    (lambda: keys.low_water("sweep", "ann"), "low_water#sweep / ann", "low_water"),
    (lambda: keys.discovery("ann", "TRADE"), "discovery#ann / TRADE", "discovery"),
    (lambda: keys.rate_bucket("ann"), "rate / ann", "rate"),
    (lambda: keys.told_of_expiry("ann", "u"), "notice#ann / expired#u", "notice"),
    (lambda: keys.told_of_bounce("ann", "u"), "notice#ann / undeliverable#u", "notice"),
    (lambda: keys.registry("ann"), "shared#registry / ann", "registry"),
    (lambda: keys.seen("ann"), "shared#seen#ann / SEEN", "registry"),
    (lambda: keys.notice_window("ann", "odd", 7), "notice#ann / odd#7", "notice"),
    (lambda: keys.paused("deliver"), "paused / deliver", "paused"),
    (lambda: keys.wanted_workers("deliver"), "wanted / deliver", "wanted"),
    (lambda: keys.presence("w"), "workers / w", "workers"),
    (lambda: keys.pump_presence("agent_state"), "workers / pump:agent_state", "workers"),
]


@pytest.mark.parametrize(("make", "stored", "family"), STORED, ids=[form for _, form, _ in STORED])
def test_a_key_has_the_form_that_is_stored_and_a_family(
    make: Callable[[], Key | str], stored: str, family: str
) -> None:
    key = make()
    pk, sk = (key, "") if isinstance(key, str) else key

    assert (f"{pk} / {sk}" if sk else pk) == stored
    assert keys.family(pk, sk) == family


def test_no_two_things_share_a_key() -> None:
    assert len({make() for make, _, _ in STORED}) == len(STORED)


@pytest.mark.parametrize(
    ("pk", "sk"),
    [("ledger#s", "X#1"), ("ledger#s", ""), ("agent:ann#dream", "x"), ("signals#T", "x"), ("", "")],
)
def test_what_no_key_looks_like_is_of_no_family(pk: str, sk: str) -> None:
    assert keys.family(pk, sk) == keys.OTHER


def test_an_agents_partition_is_of_the_family_that_its_second_part_names() -> None:
    assert keys.family("agent:ann#decision#TRADE#x#y", "z") == "decision"


def test_names_of_ledgers_and_of_their_owners_are_part_of_keys_too() -> None:
    assert keys.shared_owner("fx") == "shared#fx"
    assert keys.pattern_version_sk("up", 3) == "up@3"
    assert keys.base_subject("ann", "TRADE") == "base:ann:TRADE"
    assert keys.base_subject("ann", "TRADE", 7) == "base:ann:TRADE@7"
    assert keys.pattern_subject("ann", "up", 3) == "pattern:ann:up@3"


@pytest.mark.parametrize("epoch", [0, 1_760_797_800])
def test_a_base_ledgers_name_reads_back(epoch: int) -> None:
    subject = keys.base_subject("ann", "TRADE", epoch)

    assert keys.split_base_subject(subject) == ("ann", "TRADE", epoch)
    assert keys.split_base_subject(keys.pattern_subject("ann", "up", 1)) is None


@pytest.mark.parametrize("slot", ["2025-10-18T14", "2025-10-18T14:35:27#a3"])
def test_day_and_slot_of_a_set_and_of_its_head_read_back(slot: str) -> None:
    for key in (
        keys.ledger_slot("s", "2025-10-18", slot),
        keys.ledger_head("s", "2025-10-18", slot),
    ):
        assert keys.split_ledger_slot(key.sk) == ("2025-10-18", slot)


def test_the_mark_of_a_changed_day_reads_back_whatever_bars_its_ledger_has() -> None:
    subject = keys.pattern_subject("shared#fx", "up|down", 1)

    assert keys.split_changed(keys.changed(subject, "2025-10-18").sk) == (subject, "2025-10-18")


def test_the_shards_of_what_the_whole_fleet_writes_are_all_listed_and_all_used() -> None:
    subjects = [f"agent-{number}" for number in range(200)]

    parked = {keys.parked("t", subject, "sk", "e").pk for subject in subjects}
    changed = {keys.changed(subject, "2025-10-18").pk for subject in subjects}

    assert sorted(parked) == keys.parked_pks("t") == [f"parked#t#{shard}" for shard in range(8)]
    assert sorted(changed) == keys.changed_pks() == [f"changed#{shard}" for shard in range(8)]


def test_a_refused_record_is_found_by_how_its_key_begins_and_keeps_its_event() -> None:
    def held(key: Key, begins: str) -> bool:
        pk, after, until = keys.parked_span("t", "signal#T", begins)
        return key.pk == pk and after < key.sk <= until

    of_today = keys.parked("t", "signal#T", "2025-10-18T14:30:00Z#s1", "e1")
    long = keys.parked("t", "signal#T", "x" * 2000, "e2")

    assert held(of_today, "2025-10-18")
    assert not held(of_today, "2025-10-19")
    assert not held(of_today, "2025-10-17")
    assert len(long.sk) == 1000
    assert long.sk.endswith("|e2")


def test_a_key_is_given_as_attributes_and_as_the_api_takes_it() -> None:
    key = Key("a", "b")

    assert key.item() == {"PK": "a", "SK": "b"}
    assert key.wire() == {"PK": {"S": "a"}, "SK": {"S": "b"}}


@pytest.mark.parametrize(
    ("key", "is_own"),
    [
        (keys.registration("ann"), True),
        (keys.Key(keys.decision_pk("ann", "TRADE"), "x"), True),
        (keys.Key(keys.signal_pk("ALERT", "ann"), "x"), True),
        (keys.Key(keys.signal_pk("ALERT"), "x"), False),
        (keys.Key(keys.inbox_pk("ann"), "x"), True),
        (keys.writer("TRADE", "ann"), True),
        (keys.child("d0", keys.Key(keys.decision_pk("ann", "TRADE"), "2025#d1")), True),
        (keys.child("ann", keys.Key(keys.decision_pk("bob", "TRADE"), "2025#d1")), False),
        (keys.episode_sources("ann", "TRADE", "2025-10-18", "14"), True),
        (keys.known_agent("ann"), True),
        (keys.rate_bucket("ann"), True),
        (keys.low_water("sweep", "ann"), True),
        (keys.discovery("ann", "TRADE"), True),
        (keys.notice_window("ann", "immutable", 7), True),
        (keys.ledger_day(keys.base_subject("ann", "TRADE", 5), "2025-10-18"), True),
        (keys.ledger_day(keys.pattern_subject("ann", "p", 1), "2025-10-18"), True),
        (keys.ledger_day(keys.pattern_subject("shared#fx", "p", 1), "2025-10-18"), False),
        (keys.known_pattern(keys.pattern_subject("ann", "p", 1)), True),
        (keys.changed(keys.base_subject("ann", "TRADE"), "2025-10-18"), True),
        (keys.ledger_day(keys.sources_subject("ann", "TRADE"), "2025-10-18"), True),
        (keys.life(keys.pattern_subject("ann", "p", 1), 7), True),
        (keys.promotions("ann"), True),
        (keys.source_name("ann", 255), True),
        (keys.seen("ann"), True),
        (keys.seen("bob"), False),
        (keys.Key(keys.granted_pk("ann"), keys.granted_sk("bob", "FACT", "x")), True),
        (keys.Key(keys.granted_pk("bob"), keys.granted_sk("ann", "FACT", "x")), True),
        (keys.Key(keys.granted_domain_pk("fx"), keys.granted_sk("ann", "FACT", "x")), True),
        (keys.Key(keys.granted_domain_pk("fx"), keys.granted_sk("bob", "FACT", "x")), False),
        (keys.Key(keys.memory_pk("bob", "NOTE"), "ann#x"), False),
        (keys.late_chunk("uid", "ann"), False),
        (keys.shared_pattern_copy("bob", "ann", "p"), False),
    ],
)
def test_a_key_says_whose_item_it_is(key: keys.Key, *, is_own: bool) -> None:
    assert keys.is_agents("ann", key) is is_own
    assert not keys.is_agents("an", key)
    assert not keys.is_agents("ann-2", key)


@given(AGENTS, TYPES, TIMES, RECORDS)
def test_what_a_key_was_made_of_is_read_in_one_place(
    agent: str, kind: str, iso: str, name: str
) -> None:
    subject, day = keys.base_subject(agent, kind), iso[:10]

    assert keys.split_decision_pk(keys.decision_pk(agent, kind)) == (agent, kind)
    assert keys.time_and_id(keys.dated_sk(iso, name)) == (iso, name)
    assert keys.state_type(keys.saved_state(agent, "BACKUP", iso).sk) == "BACKUP"
    assert keys.ledger_subject(keys.ledger_pk(subject)) == subject
    assert keys.ledger_subject(keys.state_pk(agent)) is None
    assert keys.split_sources_subject(keys.sources_subject(agent, kind)) == (agent, kind)
    assert keys.split_sources_subject(subject) is None
    decision = Key(keys.decision_pk(agent, kind), keys.dated_sk(iso, name))
    assert keys.split_child(keys.child("d0", decision).sk) == decision
    mirror = keys.mirror(Key(keys.signal_pk(kind, agent), keys.dated_sk(iso, name)))
    owner = None if agent.isdigit() else agent
    assert keys.parse("agent_signals", *mirror) == ("mirror", owner, kind)
    assert keys.split_ledger_sk(keys.ledger_slot(subject, day, f"{iso[:19]}#a").sk) == ("L", day)
    assert keys.split_ledger_sk(keys.ledger_head(subject, day, iso[:13]).sk) == ("H", day)
    assert keys.split_ledger_sk(keys.ledger_day(subject, day).sk) == ("D", day)
    assert keys.split_ledger_sk(keys.ledger_total(subject).sk) == ("T", "")


def test_a_span_holds_the_counts_it_names_and_no_others() -> None:
    def held(span: tuple[str, str, str], key: Key) -> bool:
        pk, after, until = span
        return key.pk == pk and after < key.sk <= until

    first, second = (keys.ledger_head("s", f"2025-10-1{day}", "2025-10-1T14") for day in "12")
    day = keys.ledger_day("s", "2025-10-11")

    assert held(keys.ledger_heads_span("s"), first)
    assert held(keys.ledger_heads_span("s"), second)
    assert held(keys.ledger_heads_span("s", "2025-10-11"), first)
    assert not held(keys.ledger_heads_span("s", "2025-10-11"), second)
    assert held(keys.ledger_days_span("s"), day)
    slot = keys.ledger_slot("s", "2025-10-11", "x")
    assert held(keys.ledger_slots_span("s"), slot)
    for other in (first, day, keys.ledger_total("s")):
        assert not held(keys.ledger_slots_span("s"), other)
    for other in (day, keys.ledger_total("s"), keys.ledger_slot("s", "2025-10-11", "x")):
        assert not held(keys.ledger_heads_span("s"), other)
    for other in (first, keys.ledger_total("s"), keys.ledger_slot("s", "2025-10-11", "x")):
        assert not held(keys.ledger_days_span("s"), other)
