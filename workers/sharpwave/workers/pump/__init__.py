"""The laptop's host: carries stream records to the work queues, where Lambda does not.

Nothing that runs at AWS imports this room; there an event source mapping reads the streams, and
`router/lambda_handler.py` is its host.
"""

from sharpwave.workers.pump.checkpoints import (
    CLOSED,
    TRIM_HORIZON,
    Checkpoint,
    Checkpoints,
    DynamoCheckpoints,
)
from sharpwave.workers.pump.pump import Pump, Tick, Ticker, show_progress
from sharpwave.workers.pump.reader import PumpError, ShardGone, StreamMissing, StreamTrimmed
from sharpwave.workers.pump.table import Hooks, Progress, PumpSettings, TablePump

__all__ = [
    "CLOSED",
    "TRIM_HORIZON",
    "Checkpoint",
    "Checkpoints",
    "DynamoCheckpoints",
    "Hooks",
    "Progress",
    "Pump",
    "PumpError",
    "PumpSettings",
    "ShardGone",
    "StreamMissing",
    "StreamTrimmed",
    "TablePump",
    "Tick",
    "Ticker",
    "show_progress",
]
