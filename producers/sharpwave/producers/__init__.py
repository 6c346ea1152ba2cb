"""What an agent imports: `Agent`, `AsyncAgent`, and the errors they raise."""

from sharpwave.producers.agent import Agent
from sharpwave.producers.async_agent import AsyncAgent
from sharpwave.producers.async_delivery import AsyncDelivery
from sharpwave.producers.delivery import Delivery
from sharpwave.producers.errors import AgentError, RecordRefused
from sharpwave.producers.operations.inbox_rows import SignalView
from sharpwave.producers.operations.signals import Draft

__all__ = [
    "Agent",
    "AgentError",
    "AsyncAgent",
    "AsyncDelivery",
    "Delivery",
    "Draft",
    "RecordRefused",
    "SignalView",
]
