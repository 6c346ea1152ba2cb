"""What may go wrong in the demonstration.

DemoError
├── MarketDataMissing   the wheel that holds the history is not where it was said to be
├── AgentFailed         an agent's own code raised
└── PipelineNotReady    no answer from the pipeline before the replay could start
"""

from pathlib import Path


class DemoError(Exception):
    """The demonstration cannot go on."""


class MarketDataMissing(DemoError):
    """A file of the market history is missing or is not what it should be."""

    def __init__(self, path: Path, fault: str) -> None:
        """Name the file and say what is wrong with it."""
        super().__init__(f"{path} {fault}; install arch==8.0.0 into that folder")
        self.path = path


class AgentFailed(DemoError):
    """An agent raised while it handled a signal."""

    def __init__(self, agent_id: str, error: BaseException) -> None:
        """Name the agent and what it raised."""
        super().__init__(
            f"{agent_id} failed with {type(error).__name__}: {error};"
            " the signal it had in hand stays in its queue"
        )
        self.agent_id = agent_id


class PipelineNotReady(DemoError):
    """The first signals did not arrive, or the patterns do not count yet."""

    def __init__(self, what: str, *, waited_s: float) -> None:
        """Say what was waited for, and for how long."""
        super().__init__(
            f"{what} after {waited_s:.0f} s; see `sharpwave queues` and `sharpwave doctor`"
        )
