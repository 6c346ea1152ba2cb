"""The router runs in Lambda, from a zip made here, and what Lambda discards is fed again."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sharpwave.infra.aws.function import package
from sharpwave.infra.connection import Deployment
from sharpwave.infra.items import Items
from sharpwave.infra.local import Backend, mappings
from sharpwave.infra.local.mappings import deploy_router
from sharpwave.infra.mailbox import Mailbox
from sharpwave.schemas.tables import SIGNALS
from tests.integration.operations.conftest import Command
from tests.world.waiting import eventually


def test_the_packaged_function_carries_signals_and_not_the_workers_own_rows(
    backend: Backend,
    deployment: Deployment,
    raw: dict[str, Callable[..., Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if backend.name != "embedded":
        pytest.skip("Lambda without Docker is the embedded backend's")
    told = {**backend.environment, "SHARPWAVE_PREFIX": deployment.prefix}
    packed: list[bytes] = []

    def packed_once(**how: Any) -> bytes:
        packed.extend(() if packed else (package(**how),))
        return packed[0]

    monkeypatch.setattr(mappings, "package", packed_once)
    deploy_router(deployment, told)
    # Where state is kept the next run finds the function of the last.
    deploy_router(deployment, told)
    row = {"PK": "agent:bob#inbox", "SK": "2026-01-01T00:00:00.000Z#x", "signal_pk": "signal#A"}

    Items(deployment).put(SIGNALS, row)
    Items(deployment).put(SIGNALS, raw["signal"]("ann", ["bob"]))

    deliver = Mailbox(deployment, "deliver")
    eventually(lambda: deliver.depth().total == 1, "the signal comes to deliver")
    assert Mailbox(deployment, "archive").depth().total == 0


def test_what_lambda_discarded_is_fed_from_its_bucket(
    bare: Deployment, deployment: Deployment, sharpwave: Command, raw: dict[str, Callable[..., Any]]
) -> None:
    item = raw["signal"]("ann", ["bob"])
    record = raw["record"](
        item, eventSourceARN=f"arn:aws:dynamodb:us-east-1:0:table/{bare.prefix}-{SIGNALS}/stream/1"
    )
    payload = json.dumps({"Records": [record]})
    s3: Any = bare.session.client("s3", endpoint_url=bare.endpoint("s3"))
    bucket = f"discarded-{uuid4().hex[:8]}"
    s3.create_bucket(Bucket=bucket)
    about = {"DDBStreamBatchInfo": {"batchSize": 1}, "payload": payload}
    s3.put_object(Bucket=bucket, Key="aws/lambda/m/s/2026/11/29/o", Body=json.dumps(about).encode())
    url = f"s3://{bucket}/aws/lambda/"

    tried = sharpwave("reconcile", "--from", url, "--dry-run")
    done = sharpwave("reconcile", "--from", url)

    counts = {"batches": 1, "records": {SIGNALS: 1}, "unread": {}, "unroutable": {}}
    assert tried == (0, {**counts, "dry_run": True})
    assert done == (0, {**counts, "dry_run": False})
    assert Mailbox(deployment, "deliver").depth().total == 1
    assert sharpwave("reconcile", SIGNALS, "--from", url)[0] == 2
    assert sharpwave("reconcile", "--from", bucket)[0] == 2
    assert sharpwave("reconcile", "--from", "s3://no-such-bucket-here")[0] == 1


def test_the_zip_holds_what_the_router_needs_and_tells_no_time(
    tmp_path: Path, sharpwave: Command
) -> None:
    path = tmp_path / "router.zip"

    assert sharpwave("package", "--out", str(path), "--arch", "arm64")[0] == 0

    assert path.stat().st_size < 10 * 2**20
    with zipfile.ZipFile(path) as zipped:
        entries = zipped.infolist()
    names = [entry.filename for entry in entries]
    # The same release makes the same bytes.
    assert names == sorted(names)
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert "stream_lambda.py" in names
    assert any(name.endswith("aarch64-linux-gnu.so") for name in names)
    assert not any(name.startswith(("botocore/data/ec2", "sharpwave/infra")) for name in names)
