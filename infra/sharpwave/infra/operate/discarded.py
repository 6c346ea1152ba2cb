"""Batches of stream records that an event source mapping gave up on, fed to the router after all.

Lambda writes one object for each: what became of the calls, and as `payload` the event itself, with
every record as the stream had it. Source: AWS, "Retaining discarded records for a DynamoDB event
source in Lambda".
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from sharpwave.infra.connection import Deployment
from sharpwave.infra.errors import Misused, translated
from sharpwave.schemas.tables import STREAMED

if TYPE_CHECKING:
    from sharpwave.workers.work.incoming import StreamRecord


class Fed(NamedTuple):
    """What became of batches that were discarded.

    Attributes:
        batches: how many there were.
        records: how many of their records were fed, by table.
        unread: what holds no batch of this deployment, with the reason.
        unroutable: records on which the router fails, alone, with the error.
    """

    batches: int
    records: dict[str, int]
    unread: dict[str, str]
    unroutable: dict[str, str]


def feed_discarded(deployment: Deployment, url: str, *, dry_run: bool = False) -> Fed:
    """Feed every batch under a URL to the pipeline; the objects stay as they are.

    Safe to repeat, like every duty: a record is admitted by when it was stored, and due by now.

    Args:
        deployment: whose records they are.
        url: `s3://bucket/prefix` or `file:///folder`.
        dry_run: routes, and sends nothing.

    Raises:
        Misused: the URL is neither.
        Missing: there is no such bucket.
    """
    from sharpwave.workers.aws.queues import QueueUrls, SqsWorkQueues
    from sharpwave.workers.main import build_router
    from sharpwave.workers.router.route_page import route_page
    from sharpwave.workers.settings import Settings
    from sharpwave.workers.work.outgoing import WorkMessage

    router = build_router(Settings(prefix=deployment.prefix))
    queues = SqsWorkQueues(deployment.sqs, urls=QueueUrls(deployment.sqs, prefix=deployment.prefix))
    names = {deployment.name(table): table for table in STREAMED}
    found = Fed(0, {}, {}, {})

    def route(table: str, page: "Sequence[StreamRecord]") -> list[WorkMessage]:
        return router(table, page, now=time.time())

    for name, text in _objects(deployment, url):
        try:
            records = _records(text)
            arns = [str(record.get("eventSourceARN", "")) for record in records]
            if strange := [arn for arn in arns if "/" not in arn]:
                raise ValueError(f"a record says {strange[0]!r} for the ARN of its stream")
            # arn:aws:dynamodb:<region>:<account>:table/<table>/stream/<label>
            tables = [names[arn.split("/")[1]] for arn in arns]
        except KeyError as unknown:
            found.unread[name] = f"table {unknown} is none of {deployment.place}"
            continue
        except ValueError as fault:
            found.unread[name] = str(fault)
            continue
        found = found._replace(batches=found.batches + 1)
        for table, group in groupby(zip(tables, records, strict=True), key=lambda pair: pair[0]):
            page = [record for _, record in group]
            routed = route_page(route, table, page)
            for record, error in routed.failed:
                assert isinstance(record, Mapping)
                found.unroutable[str(record["eventID"])] = f"{table} in {name}: {error!r}"
            if not dry_run:
                queues.send(routed.messages)
            fed = len(page) - len(routed.failed)
            found.records[table] = found.records.get(table, 0) + fed
    return found


def _records(text: bytes) -> list[dict[str, Any]]:
    """Read the records of one object.

    Raises:
        ValueError: it is not what Lambda writes to a bucket.
    """
    try:
        about = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON: {error}") from error
    batch = about.get("DDBStreamBatchInfo") if isinstance(about, dict) else None
    if not isinstance(batch, dict):
        raise ValueError("it is no record of a batch of a DynamoDB stream")
    if "payload" not in about:
        raise ValueError(
            "it holds positions and no records, as a queue as destination gets them; feed the"
            f" table of {batch.get('streamArn')} by `sharpwave reconcile TABLE`"
        )
    event = about["payload"]
    event = json.loads(event) if isinstance(event, str) else event
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        raise ValueError("its payload holds no records")
    return records


def _objects(deployment: Deployment, url: str) -> Iterator[tuple[str, bytes]]:
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path:
        for path in sorted(each for each in Path(parts.path).rglob("*") if each.is_file()):
            yield str(path), path.read_bytes()
    elif parts.scheme == "s3" and parts.netloc:
        s3 = deployment.s3
        # A page lists a thousand keys, and a prefix may hold more.
        pages = s3.get_paginator("list_objects_v2")
        with translated(f"bucket {parts.netloc}"):
            for page in pages.paginate(Bucket=parts.netloc, Prefix=parts.path.lstrip("/")):
                for each in page.get("Contents", ()):
                    reply = s3.get_object(Bucket=parts.netloc, Key=each["Key"])
                    yield each["Key"], reply["Body"].read()
    else:
        raise Misused(f"--from {url!r} cannot be read; take s3://bucket/prefix or file:///folder")
