"""Carries DynamoDB stream records to the work queues, where Lambda does not."""

from sharpwave.workers.pump.checkpoints import (
    CLOSED,
    TRIM_HORIZON,
    Checkpoint,
    Checkpoints,
    DynamoCheckpoints,
    MemoryCheckpoints,
)
from sharpwave.workers.pump.errors import (
    PumpError,
    SendAbandoned,
    ShardGone,
    StreamMissing,
    StreamTrimmed,
    UnknownQueue,
)
from sharpwave.workers.pump.hooks import Hooks, Progress, show_progress
from sharpwave.workers.pump.pump import Pump
from sharpwave.workers.pump.sender import QueueUrls, Sender
from sharpwave.workers.pump.settings import PumpSettings, SenderSettings
from sharpwave.workers.pump.table import TablePump
from sharpwave.workers.pump.ticker import Tick, Ticker

__all__ = [
    "CLOSED",
    "TRIM_HORIZON",
    "Checkpoint",
    "Checkpoints",
    "DynamoCheckpoints",
    "Hooks",
    "MemoryCheckpoints",
    "Progress",
    "Pump",
    "PumpError",
    "PumpSettings",
    "QueueUrls",
    "SendAbandoned",
    "Sender",
    "SenderSettings",
    "ShardGone",
    "StreamMissing",
    "StreamTrimmed",
    "TablePump",
    "Tick",
    "Ticker",
    "UnknownQueue",
    "show_progress",
]
