"""What one event costs at list prices: by what the running deployment used, else by the model."""

from dataclasses import dataclass
from typing import Literal

from sharpwave.infra.connection import Deployment
from sharpwave.infra.cost.bill import MILLION, PriceFile, measured, priced, usage_of
from sharpwave.infra.cost.flow import Flow, decisions, signals


@dataclass(frozen=True, kw_only=True)
class EventCost:
    """The price of one event.

    Attributes:
        event: a decision with its outcome, or a signal with all of its deliveries.
        usd: dollars for one, of its writer and the pipeline, without what runs all the time.
        by: `counters` of workers and pump within the last hour, or the `model` of `sharpwave cost`.
        events: how many events the counters saw; 0 for the model.
    """

    event: Literal["decision", "signal"]
    usd: float
    by: Literal["counters", "model"]
    events: int


def event_costs(deployment: Deployment, prices: PriceFile) -> list[EventCost]:
    """Give what a decision and a signal cost; reads the signs of life of workers and pump.

    Counters serve only where DynamoDB told the capacity of every call: an emulator that tells none
    would make events look cheap.
    """
    usage = usage_of(deployment)
    run = measured(usage, prices)
    flow = Flow()
    found = []
    for event, bill, events, uses in (
        ("decision", run.decisions, usage.decisions, decisions(flow)),
        ("signal", run.signals, usage.signals, signals(flow)),
    ):
        is_counted = bill is not None and not usage.untold
        chosen = bill if bill is not None and is_counted else priced(uses, prices)
        found.append(
            EventCost(
                event=event,  # type: ignore[arg-type]
                usd=chosen.total / MILLION,
                by="counters" if is_counted else "model",
                events=events if is_counted else 0,
            )
        )
    return found
