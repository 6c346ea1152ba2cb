"""The backend does what the system relies on; where one is known not to, the test says so."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from sharpwave.infra.local import Backend
from sharpwave.infra.local.backend import LocalServer

KEY = {"PK": {"S": "a"}, "SK": {"S": "1"}}


class Bench:
    """A streamed table and a queue with dead letters, of one test's own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.name = f"probe-{uuid4().hex[:8]}"
        self.dynamodb, self.streams, self.sqs = (
            client(service, environment) for service in ("dynamodb", "dynamodbstreams", "sqs")
        )
        made = self.dynamodb.create_table(
            TableName=self.name,
            KeySchema=[
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")
            ],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
        self.stream = made["TableDescription"]["LatestStreamArn"]

    def put(self, **values: int) -> None:
        wire = {name: {"N": str(value)} for name, value in values.items()}
        self.dynamodb.put_item(TableName=self.name, Item={**KEY, **wire})

    def item(self) -> dict[str, Any]:
        found = self.dynamodb.get_item(TableName=self.name, Key=KEY, ConsistentRead=True)
        return dict(found["Item"])

    def add(self, **more: Any) -> dict[str, Any]:
        """Give an update that counts one up."""
        return {
            "TableName": self.name,
            "Key": KEY,
            "UpdateExpression": "ADD n :one",
            "ExpressionAttributeValues": {":one": {"N": "1"}, **more.pop("values", {})},
            **more,
        }

    def records(self) -> list[dict[str, Any]]:
        """Give the table's whole stream."""
        shards = self.streams.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"]
        found: list[dict[str, Any]] = []
        for shard in shards:
            iterator = self.streams.get_shard_iterator(
                StreamArn=self.stream,
                ShardId=shard["ShardId"],
                ShardIteratorType="TRIM_HORIZON",
            )["ShardIterator"]
            found += self.streams.get_records(ShardIterator=iterator)["Records"]
        return found


def client(service: Any, environment: dict[str, str]) -> Any:
    url = environment.get(f"AWS_ENDPOINT_URL_{service.upper()}", environment["AWS_ENDPOINT_URL"])
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=environment.get("AWS_REGION", "us-east-1"),
        aws_access_key_id=environment.get("AWS_ACCESS_KEY_ID", "test"),
        aws_secret_access_key=environment.get("AWS_SECRET_ACCESS_KEY", "test"),
    )


@pytest.fixture
def bench(backend: Backend) -> Iterator[Bench]:
    made = Bench(dict(backend.environment))
    yield made
    made.dynamodb.delete_table(TableName=made.name)


@pytest.mark.deviates("moto", "concurrent-images")
@pytest.mark.deviates("localstack", "unordered-records")
def test_each_change_is_one_record_with_both_images_in_order(bench: Bench) -> None:
    bench.put(n=0)
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(bench.dynamodb.update_item, **bench.add()) for _ in range(40)]:
            done.result()
    bench.dynamodb.delete_item(TableName=bench.name, Key=KEY)

    changes = [record["dynamodb"] for record in bench.records()]

    after = [int(change["NewImage"]["n"]["N"]) for change in changes if "NewImage" in change]
    before = [int(change["OldImage"]["n"]["N"]) for change in changes if "OldImage" in change]
    assert after == before == list(range(41))


@pytest.mark.deviates("moto", "no-op-records")
def test_a_write_that_changes_nothing_makes_no_record(bench: Bench) -> None:
    bench.put(n=1)

    bench.put(n=1)

    assert len(bench.records()) == 1


def test_a_transaction_that_fails_changes_nothing_and_makes_no_record(bench: Bench) -> None:
    bench.put(n=1)
    other = {"PK": {"S": "a"}, "SK": {"S": "2"}}
    put = {"Put": {"TableName": bench.name, "Item": other}}
    taken = {"Put": {"TableName": bench.name, "Item": KEY}}
    taken["Put"]["ConditionExpression"] = "attribute_not_exists(PK)"

    with pytest.raises(ClientError) as failed:
        bench.dynamodb.transact_write_items(TransactItems=[put, taken])

    reasons = [reason["Code"] for reason in failed.value.response["CancellationReasons"]]
    assert reasons == ["None", "ConditionalCheckFailed"]
    assert len(bench.records()) == 1


@pytest.mark.deviates("moto", "idempotency-token")
def test_a_repeated_transaction_is_applied_once(bench: Bench) -> None:
    request = {"TransactItems": [{"Update": bench.add()}], "ClientRequestToken": uuid4().hex}

    for _ in range(3):
        bench.dynamodb.transact_write_items(**request)

    assert bench.item()["n"] == {"N": "1"}


@pytest.mark.deviates("moto", "batch-statements")
def test_statements_of_a_batch_fail_each_on_its_own(bench: Bench) -> None:
    bench.put(n=1)
    update = f'UPDATE "{bench.name}" SET n = ? WHERE PK = ? AND SK = ? AND n = ?'

    def statement(sk: str, new: int, old: int) -> dict[str, Any]:
        values = [{"N": str(new)}, {"S": "a"}, {"S": sk}, {"N": str(old)}]
        return {"Statement": update, "Parameters": values}

    insert = f"INSERT INTO \"{bench.name}\" VALUE {{'PK': ?, 'SK': ?}}"
    answer = bench.dynamodb.batch_execute_statement(
        Statements=[
            {"Statement": insert, "Parameters": [{"S": "a"}, {"S": "1"}]},
            statement("1", 2, 1),
            statement("missing", 2, 1),
        ]
    )

    codes = [each.get("Error", {}).get("Code") for each in answer["Responses"]]
    assert codes == ["DuplicateItem", None, "ConditionalCheckFailed"]
    assert bench.item()["n"] == {"N": "2"}
    assert "Item" not in bench.dynamodb.get_item(
        TableName=bench.name, Key={"PK": {"S": "a"}, "SK": {"S": "missing"}}
    )


def test_conditional_updates_from_many_threads_lose_none(bench: Bench) -> None:
    bench.put(n=0)

    def count_up() -> None:
        done = 0
        while done < 5:
            n = bench.item()["n"]["N"]
            request = bench.add(ConditionExpression="n = :n", values={":n": {"N": n}})
            try:
                bench.dynamodb.update_item(**request)
            except bench.dynamodb.exceptions.ConditionalCheckFailedException:
                continue
            done += 1

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(count_up) for _ in range(6)]:
            done.result()

    assert bench.item()["n"] == {"N": "30"}


def test_a_waiting_receive_wakes_when_a_message_comes(bench: Bench) -> None:
    url = bench.sqs.create_queue(QueueName=bench.name)["QueueUrl"]
    receive: Callable[..., Any] = bench.sqs.receive_message

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receive, QueueUrl=url, WaitTimeSeconds=10)
        began = time.monotonic()
        bench.sqs.send_message(QueueUrl=url, MessageBody="hello")
        [message] = waiting.result()["Messages"]

    assert message["Body"] == "hello"
    assert time.monotonic() - began < 5
    bench.sqs.delete_queue(QueueUrl=url)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's table of sockets")
def test_no_process_of_a_backend_here_listens_beyond_loopback(
    backend: Backend, processes_with: Callable[[str], dict[int, str]]
) -> None:
    if not isinstance(backend, LocalServer):
        pytest.skip("its processes are not ours")
    home = f"HOME={tempfile.gettempdir()}/sharpwave-{backend.name}-"
    ours = {held for pid in processes_with(home) for held in _held_by(pid)}

    rows = [line.split() for name in ("tcp", "tcp6") for line in _table(name).splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours]

    assert listening
    assert {address.partition(":")[0] for address in listening} == {"0100007F"}


def _held_by(pid: int) -> Iterator[str]:
    """What a process holds open; a file that it closes meanwhile is no listening socket."""
    with suppress(FileNotFoundError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                yield os.readlink(each)


def _table(name: str) -> str:
    return Path(f"/proc/net/{name}").read_text()
