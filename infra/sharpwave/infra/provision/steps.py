"""What provisioning finds: steps that put something right, and differences it leaves alone."""

from collections.abc import Callable
from typing import Literal, NamedTuple

#: Every table and queue made here carries this tag; nothing without it is ever destroyed.
TAG = "sharpwave"

Kind = Literal["table", "queue", "agent"]
Action = Literal["create", "mend", "delete"]


class Step(NamedTuple):
    """Something to do; `run` is safe to repeat."""

    action: Action
    kind: Kind
    name: str
    what: str
    run: Callable[[], None]

    def view(self) -> dict[str, str]:
        """Give the step as data."""
        return {"action": self.action, "kind": self.kind, "name": self.name, "what": self.what}


class Difference(NamedTuple):
    """Something that differs from its definition and is left as it is.

    `breaks` says that the pipeline cannot work with it; otherwise it may be an operator's choice.
    """

    kind: Kind
    name: str
    what: str
    breaks: bool

    def view(self) -> dict[str, str | bool]:
        """Give the difference as data."""
        return self._asdict()


Finding = Step | Difference


def tag_value(prefix: str) -> str:
    """Give the value of the tag for one deployment."""
    return prefix or "default"
