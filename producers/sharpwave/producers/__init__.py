"""What an agent imports: `Agent`, `AsyncAgent`, what they give, and the errors they raise."""

from sharpwave.producers.agent import Agent, AsyncAgent
from sharpwave.producers.cache import MemoryCache
from sharpwave.producers.choosing import Choice
from sharpwave.producers.dax import DaxCache
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.errors import AgentError, RecordRefused
from sharpwave.producers.fading import strength
from sharpwave.producers.operations.learnt import Recalled
from sharpwave.producers.operations.signals import Draft, SignalView
from sharpwave.producers.operations.state import Difference, differences

__all__ = [
    "Agent",
    "AgentError",
    "AsyncAgent",
    "AsyncDelivery",
    "Choice",
    "DaxCache",
    "Delivery",
    "Difference",
    "Draft",
    "MemoryCache",
    "Recalled",
    "RecordRefused",
    "SignalView",
    "differences",
    "strength",
]
