"""What AWS or a disk refuses comes out of an adapter as one of the ports' two errors, or a verdict.

`TryAgain` is worth hours, `CallRefused` is not, and a condition that does not hold is no error.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from sharpwave.schemas import keys, tables
from sharpwave.schemas.numbers import item_to_wire
from sharpwave.workers.aws import tables as table_adapters
from sharpwave.workers.aws import writes as write_adapters
from sharpwave.workers.aws.archive import FolderArchive, S3Archive, open_archive
from sharpwave.workers.aws.errors import ATTEMPTS
from sharpwave.workers.aws.tables import TableLedger, TableReads
from sharpwave.workers.aws.writes import BatchedWrites, SingleWrites
from sharpwave.workers.work.ports import CallRefused, Insert, Location, TryAgain, Update, Write

KEYS = [keys.Key("agent:a", f"thing-{number}") for number in range(3)]
PLACES = [Location(tables.STATE, key) for key in KEYS]
INSERTS: Sequence[Write] = [Insert(tables.STATE, {**key.item(), "n": 1}) for key in KEYS]
CHANGES: Sequence[Write] = [Update(place, {"n": 2}) for place in PLACES]
UNREACHABLE = EndpointConnectionError(endpoint_url="http://here")


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Operation")


class Scripted:
    """A client whose every operation gives the next answer, or raises it; the last one stays."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = [*answers]
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**request: Any) -> dict[str, Any]:
            self.asked.append(request)
            answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the pauses between attempts instead of waiting for them."""
    noted: list[int] = []
    for module in (table_adapters, write_adapters):
        monkeypatch.setattr(module, "pause", noted.append)
    return noted


def answers(*codes: str | None) -> dict[str, Any]:
    return {"Responses": [{"Error": {"Code": code}} if code else {} for code in codes]}


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", TryAgain),
        ("AccessDeniedException", TryAgain),
        ("ResourceNotFoundException", TryAgain),
        ("ValidationException", CallRefused),
        ("ItemCollectionSizeLimitExceededException", CallRefused),
        (None, TryAgain),
    ],
)
@pytest.mark.parametrize("kind", [BatchedWrites, SingleWrites])
@pytest.mark.parametrize("writes", [INSERTS, CHANGES], ids=["insert", "change"])
def test_a_call_that_fails_whole_says_whether_it_is_worth_another(
    kind: type[BatchedWrites | SingleWrites],
    writes: Sequence[Write],
    code: str | None,
    error: type[Exception],
) -> None:
    fault = refusal(code) if code else UNREACHABLE

    with pytest.raises(error, match=code or "Could not connect") as caught:
        kind(Scripted(fault)).apply(writes)

    assert caught.value.__cause__ is fault


@pytest.mark.parametrize("writes", [INSERTS, CHANGES], ids=["insert", "change"])
def test_a_condition_that_does_not_hold_is_a_verdict(writes: Sequence[Write]) -> None:
    met = refusal("ConditionalCheckFailedException")
    batch = answers(None, "ConditionalCheckFailed", "DuplicateItem")

    assert SingleWrites(Scripted({}, met, {})).apply(writes) == [True, False, True]
    assert BatchedWrites(Scripted(batch)).apply(writes) == [True, False, False]


def test_only_the_throttled_part_of_a_batch_is_asked_for_again(pauses: list[int]) -> None:
    client = Scripted(
        answers("ThrottlingError", None, "TransactionConflict"),
        answers("DuplicateItem", "InternalServerError"),
        answers(None),
    )

    assert BatchedWrites(client).apply(INSERTS) == [False, True, True]
    assert [len(asked["Statements"]) for asked in client.asked] == [3, 2, 1]
    assert pauses == [0, 1]


def test_a_batch_that_stays_throttled_is_tried_again_later(pauses: list[int]) -> None:
    client = Scripted(answers(None, "ThrottlingError", None), answers("ThrottlingError"))

    with pytest.raises(TryAgain, match=f"1 of 3 writes were throttled {ATTEMPTS} times"):
        BatchedWrites(client).apply(INSERTS)

    assert len(client.asked) == len(pauses) == ATTEMPTS


@pytest.mark.parametrize(
    ("code", "error"), [("ValidationError", CallRefused), ("AccessDenied", TryAgain)]
)
def test_a_statement_that_is_refused_names_its_item(code: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"thing-1.*{code}"):
        BatchedWrites(Scripted(answers(None, code, None))).apply(INSERTS)


def test_keys_left_unread_are_asked_for_again_but_not_for_ever(pauses: list[int]) -> None:
    left = {"agent_state": {"Keys": [KEYS[1].wire()], "ConsistentRead": True}}
    found = {"agent_state": [item_to_wire({**KEYS[1].item(), "n": 1})]}
    busy = {"Responses": {}, "UnprocessedKeys": left}
    quick = Scripted(busy, busy, {"Responses": found, "UnprocessedKeys": {}})

    assert TableReads(quick).get(PLACES) == {PLACES[1]: {**KEYS[1].item(), "n": 1}}
    assert quick.asked[-1]["RequestItems"] == left

    pauses.clear()
    relaxed = Scripted({"Responses": found})
    TableReads(relaxed).get(PLACES, strong=False)
    assert {each["ConsistentRead"] for each in relaxed.asked[-1]["RequestItems"].values()} == {
        False
    }

    pauses.clear()
    with pytest.raises(TryAgain, match=rf"keys of \['agent_state'\] unread {ATTEMPTS} times"):
        TableReads(Scripted(busy)).get(PLACES)
    assert len(pauses) == ATTEMPTS


@pytest.mark.parametrize(
    "read",
    [
        lambda reads: reads.get(PLACES),
        lambda reads: list(reads.query(tables.STATE, "agent:a")),
        lambda reads: list(reads.by_agent("a", after=1, until=2)),
    ],
    ids=["get", "query", "by_agent"],
)
def test_a_read_that_gets_no_answer_is_tried_again_later(read: Callable[[Any], Any]) -> None:
    with pytest.raises(TryAgain):
        read(TableReads(Scripted(UNREACHABLE)))


def test_a_query_for_a_few_items_reads_no_more_than_these(pauses: list[int]) -> None:
    """A page is a megabyte otherwise, billed whole."""
    client = Scripted({"Items": [item_to_wire(KEYS[number].item()) for number in (0, 1)]})
    reads = TableReads(client)

    assert len(list(reads.query(tables.STATE, "agent:a", limit=1))) == 1
    after = KEYS[0].sk
    assert len(list(reads.query(tables.STATE, "agent:a", after=after, until="x", limit=1))) == 1
    list(reads.query(tables.STATE, "agent:a"))
    assert [request.get("Limit") for request in client.asked] == [2, 2, None]


def test_a_ledger_that_gets_no_answer_is_no_condition_that_failed() -> None:
    with pytest.raises(TryAgain, match="AccessDenied"):
        TableLedger(Scripted(refusal("AccessDenied"))).mark(PLACES[0])


def test_a_disk_that_is_full_is_tried_again_later_and_keeps_no_half_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    archive = FolderArchive(tmp_path / "archive")
    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", full)
        with pytest.raises(TryAgain, match="No space left"):
            archive.write("2026-01-02", ['{"a": 1}'])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    archive.write("2026-01-02", ['{"a": 1}'])

    (part,) = archive.part_names()
    assert list(archive.read(part)) == [{"a": 1}]


def test_a_folder_that_cannot_be_made_is_tried_again_later(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")

    with pytest.raises(TryAgain, match="taken"):
        FolderArchive(tmp_path / "taken").write("2026-01-02", ["{}"])


def test_a_bucket_that_refuses_is_tried_again_later() -> None:
    archive = S3Archive(Scripted(refusal("SlowDown")), bucket="b", prefix="p")

    with pytest.raises(TryAgain, match=r"PutObject to b.*SlowDown"):
        archive.write("2026-01-02", ["{}"])


@pytest.mark.parametrize(
    "url", ["", "/var/archive", "file:", "s3:///prefix", "https://bucket.s3.amazonaws.com"]
)
def test_an_archive_is_a_folder_or_a_bucket(url: str) -> None:
    with pytest.raises(ValueError, match="take file:///folder or s3://bucket/prefix"):
        open_archive(url)
