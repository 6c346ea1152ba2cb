"""What an agent imports: `Agent`, `AsyncAgent`, what they give, and the errors they raise."""

from sharpwave.producers.agent import Agent, AsyncAgent
from sharpwave.producers.aware import AsyncMemoryAwareAgent, Judgement, MemoryAwareAgent
from sharpwave.producers.cache import MemoryCache
from sharpwave.producers.choosing import Choice
from sharpwave.producers.dax import DaxCache
from sharpwave.producers.deliveries import AsyncDelivery, Delivery
from sharpwave.producers.errors import AgentError, NoAnswer, RateLimited, RecordRefused, TimedOut
from sharpwave.producers.fading import strength
from sharpwave.producers.limiters import AsyncLimiter, Limiter
from sharpwave.producers.operations.analytics import Performance, SourceMetrics, Standing
from sharpwave.producers.operations.asking import Answer
from sharpwave.producers.operations.decisions import DecisionPage
from sharpwave.producers.operations.learnt import Recalled
from sharpwave.producers.operations.limits import Taken
from sharpwave.producers.operations.lineage import DecisionView, Due
from sharpwave.producers.operations.peers import Peer
from sharpwave.producers.operations.signals import Draft, SignalView
from sharpwave.producers.operations.state import Difference, differences
from sharpwave.producers.operations.timings import Timing
from sharpwave.schemas.sketch import Sketch

__all__ = [
    "Agent",
    "AgentError",
    "Answer",
    "AsyncAgent",
    "AsyncDelivery",
    "AsyncLimiter",
    "AsyncMemoryAwareAgent",
    "Choice",
    "DaxCache",
    "DecisionPage",
    "DecisionView",
    "Delivery",
    "Difference",
    "Draft",
    "Due",
    "Judgement",
    "Limiter",
    "MemoryAwareAgent",
    "MemoryCache",
    "NoAnswer",
    "Peer",
    "Performance",
    "RateLimited",
    "Recalled",
    "RecordRefused",
    "SignalView",
    "Sketch",
    "SourceMetrics",
    "Standing",
    "Taken",
    "TimedOut",
    "Timing",
    "differences",
    "strength",
]
