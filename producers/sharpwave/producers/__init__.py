"""What an agent imports: `Agent`, `AsyncAgent`, what they give, and the errors they raise."""

from sharpwave.producers.agent import Agent, AsyncAgent
from sharpwave.producers.aware import AsyncMemoryAwareAgent, Judgement, MemoryAwareAgent
from sharpwave.producers.cache import MemoryCache
from sharpwave.producers.choosing import Choice
from sharpwave.producers.dax import DaxCache
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.errors import AgentError, RateLimited, RecordRefused
from sharpwave.producers.limiters import AsyncLimiter, Limiter
from sharpwave.producers.operations.learnt import Recalled
from sharpwave.producers.operations.limits import Taken
from sharpwave.producers.operations.signals import Draft, SignalView

__all__ = [
    "Agent",
    "AgentError",
    "AsyncAgent",
    "AsyncDelivery",
    "AsyncLimiter",
    "AsyncMemoryAwareAgent",
    "Choice",
    "DaxCache",
    "Delivery",
    "Draft",
    "Judgement",
    "Limiter",
    "MemoryAwareAgent",
    "MemoryCache",
    "RateLimited",
    "Recalled",
    "RecordRefused",
    "SignalView",
    "Taken",
]
