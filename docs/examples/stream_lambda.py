"""The router in AWS Lambda: one function behind an event source mapping for each streamed table.

Set the function's handler to `stream_lambda.handler` and SHARPWAVE_PREFIX to the deployment's;
the package is `pip install 'sharpwave[workers]' -t build` with this file beside it.
"""

from sharpwave.schemas import keys, queues, tables
from sharpwave.schemas.faults import Fault
from sharpwave.schemas.numbers import parse_json
from sharpwave.workers.lambda_handler import make_handler
from sharpwave.workers.main import build_ports, build_router, clients
from sharpwave.workers.outgoing import Outgoing, StreamRecord
from sharpwave.workers.ports import Refusal
from sharpwave.workers.pump import QueueUrls, Sender
from sharpwave.workers.settings import Settings

settings, made = Settings(), clients()
parking = build_ports(settings, made).parking
queue_names = {name: tables.physical(name, settings.prefix) for name in queues.WORK_QUEUE_NAMES}
table_names = {tables.physical(name, settings.prefix): name for name in tables.STREAMED}


def park_message(message: Outgoing, code: str, reason: str) -> None:
    """Keep a message that SQS will never take."""
    fault = Fault("unsendable", "", f"SQS refused its work message: {code}: {reason}")
    name = parse_json(message.body)["message_id"]
    key = keys.Key(f"queue#{message.queue}", name)
    parking.park([Refusal("queue", key, name, [fault], message.body, None)])


def park_record(table: str, record: StreamRecord, error: Exception) -> None:
    """Keep a record that the router failed on."""
    fault = Fault("unroutable", "", f"the router failed on it: {error!r:.500}")
    found = record["dynamodb"]["Keys"]
    key = keys.Key(found["PK"]["S"], found["SK"]["S"])
    parking.park([Refusal(table, key, record["eventID"], [fault], "", keys.owner_of(key.pk))])


sender = Sender(made.sqs, queue_url=QueueUrls(made.sqs, queue_names), on_refused=park_message)
handler = make_handler(
    build_router(settings),
    sender,
    lambda arn: table_names[arn.split("/")[1]],
    on_unroutable=park_record,
)
