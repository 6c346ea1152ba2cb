"""What an agent imports: `Agent`, `AsyncAgent`, what they give, and the errors they raise."""

from sharpwave.producers.agent import Agent, AsyncAgent
from sharpwave.producers.cache import MemoryCache
from sharpwave.producers.choosing import Choice
from sharpwave.producers.dax import DaxCache
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.errors import AgentError, RecordRefused
from sharpwave.producers.operations.analytics import Performance
from sharpwave.producers.operations.learnt import Recalled
from sharpwave.producers.operations.signals import Draft, SignalView

__all__ = [
    "Agent",
    "AgentError",
    "AsyncAgent",
    "AsyncDelivery",
    "Choice",
    "DaxCache",
    "Delivery",
    "Draft",
    "MemoryCache",
    "Performance",
    "Recalled",
    "RecordRefused",
    "SignalView",
]
