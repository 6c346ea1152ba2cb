"""The fault proxy between the pipeline and a backend."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sharpwave.infra.local import Backend
from sharpwave.infra.local.backend import LocalServer
from sharpwave.infra.local.environment import ensure

Rule = Mapping[str, Any]

#: The request is carried out, and its answer is cut off after the first byte.
_LOST_REPLY = {"response": {"abort_bytes": 1}}
_RESET = {"reset": True}
_SLOW = {"latency": {"min": 50, "max": 400}}

_WRITES = ("PutItem", "UpdateItem", "BatchExecuteStatement")
_READS = ("Query", "BatchGetItem", "GetItem")
_SENDS = ("SendMessage", "SendMessageBatch")
_SETTLES = ("DeleteMessageBatch", "ChangeMessageVisibilityBatch")


def rules(intensity: float) -> list[Rule]:
    """Give the faults of a front; the first rule that fires decides over a call."""

    def some(service: str, share: float, effect: Rule, *operations: str) -> list[Rule]:
        fault = {"service": service, "probability": min(1.0, share * intensity), **effect}
        return [{**fault, "operation": name} for name in operations] or [fault]

    return [
        *some("dynamodb", 0.04, _LOST_REPLY, *_WRITES),
        *some("dynamodb", 0.03, _error("ProvisionedThroughputExceededException", 400)),
        *some("dynamodb", 0.02, _error("InternalServerError", 500)),
        *some("dynamodb", 0.01, _RESET),
        *some("sqs", 0.06, _LOST_REPLY, *_SENDS),
        *some("sqs", 0.02, _LOST_REPLY, "ReceiveMessage"),
        *some("sqs", 0.03, _LOST_REPLY, *_SETTLES),
        *some("sqs", 0.05, _error("ServiceUnavailable", 503), *_SETTLES),
        *some("sqs", 0.03, _error("RequestThrottled", 400)),
        *some("sqs", 0.01, _RESET),
        *some("dynamodbstreams", 0.03, _LOST_REPLY, "GetRecords"),
        *some("dynamodbstreams", 0.02, _error("LimitExceededException", 400)),
        *some("dynamodbstreams", 0.005, _error("ExpiredIteratorException", 400), "GetRecords"),
        *some("dynamodb", 0.05, _SLOW, *_WRITES, *_READS),
        *some("sqs", 0.05, _SLOW, *_SENDS, *_SETTLES),
    ]


def outage(service: str) -> list[Rule]:
    """Give the rules that make nearly every call to one service fail."""
    return [
        {"service": service, "probability": 0.5, **_error("InternalServerError", 500)},
        {"service": service, "probability": 0.9, **_RESET},
    ]


def refusal(queue: str, seconds: float, *, is_missing: bool) -> list[Rule]:
    """Give the rules by which one queue takes nothing for a while, or is said not to exist."""
    why = _error("QueueDoesNotExist", 400) if is_missing else _error("AccessDenied", 403)
    return [{"service": "sqs", "resource": queue, "ttl_s": seconds, **why}]


def trim() -> list[Rule]:
    """Give the rule that tells a reader once that its stream no longer holds its position."""
    lost = _error("TrimmedDataAccessException", 400)
    return [{"service": "dynamodbstreams", "operation": "GetRecords", "times": 1, **lost}]


def fired(stats: Mapping[str, Any]) -> dict[str, int]:
    """Sum what a proxy's statistics say it broke, by kind of fault."""
    counts: dict[str, int] = {}
    for entry in stats["by_rule"]:
        kind = _kind(str(entry["describe"]))
        counts[kind] = counts.get(kind, 0) + int(entry["fired"])
    return counts


def total(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Add up counts."""
    counts: dict[str, int] = {}
    for part in parts:
        for name, count in part.items():
            counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items()))


def _error(code: str, status: int) -> dict[str, Any]:
    return {"error": {"code": code, "status": status}}


def _kind(text: str) -> str:
    """Name a fault as the proxy describes it, such as `latency:231ms` or `error:SlowDown`."""
    for prefix, name in (("latency", "late reply"), ("response", "lost reply"), ("reset", "reset")):
        if text.startswith(prefix):
            return name
    return text.removeprefix("error:")


#: Pinned with hashes; remade by `echo microburst==0.10.0 | uv pip compile -` with the options
#: that `infra/sharpwave/infra/local/locks/README.md` names.
LOCK = Path(__file__).with_name("microburst.lock")
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS")
#: Its draws follow from a seed, and it does not log every request.
_LAUNCH = """
import logging, random, sys
random.seed(sys.argv.pop(1))
logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
logging.getLogger("microburst").setLevel(logging.WARNING)
from microburst.cli import main
sys.exit(main())
"""


class FaultProxy(LocalServer):
    """microburst in front of one endpoint; passes everything on until it is given rules.

    Args:
        upstream: the endpoint's URL.
        seed: decides, with the order of the calls, which of them are broken.
        log: its outputs are appended here.
    """

    name = "microburst"
    health_path = "/_microburst/health"

    def __init__(self, upstream: str, *, seed: str, log: Path | None = None) -> None:
        super().__init__(log=log)
        self._upstream, self._seed = upstream, seed

    def command(self, port: int) -> list[str]:
        """The proxy of its pinned environment."""
        python = str(ensure("microburst", LOCK) / "python")
        options = ["--upstream", self._upstream, "--port", str(port), "--no-resign"]
        return [python, "-c", _LAUNCH, self._seed, *options]

    def obey(self, rules: Sequence[Rule]) -> None:
        """Replace its rules."""
        self._ask("rules", rules, method="POST")

    def add(self, rules: Sequence[Rule]) -> None:
        """Add rules behind those it has."""
        self._ask("rules", rules, method="PATCH")

    def stats(self) -> Mapping[str, Any]:
        """Say what went through it and what it broke."""
        answer: Mapping[str, Any] = self._ask("stats")
        return answer

    def _ask(self, what: str, body: Sequence[Rule] | None = None, *, method: str = "GET") -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.endpoint_url}/_microburst/{what}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)


class Proxies:
    """A fault proxy for each endpoint of a started backend; a context manager.

    Args:
        backend: the backend, which must run.
        seed: of the faults.
        folder: for logs.
    """

    def __init__(self, backend: Backend, *, seed: int, folder: Path) -> None:
        direct = backend.environment
        self._proxies = {
            name: FaultProxy(direct[name], seed=f"{seed} {name}", log=folder / f"{name}.log")
            for name in _ENDPOINTS
            if name in direct
        }
        self._exit = ExitStack()

    @property
    def environment(self) -> dict[str, str]:
        """Give AWS's own variables that lead through the proxies."""
        return {name: proxy.endpoint_url for name, proxy in self._proxies.items()}

    def obey(self, rules: Sequence[Rule]) -> None:
        """Replace the rules of each."""
        for proxy in self._proxies.values():
            proxy.obey(rules)

    def add(self, rules: Sequence[Rule]) -> None:
        """Add rules to each, behind those it has."""
        for proxy in self._proxies.values():
            proxy.add(rules)

    def calls(self) -> int:
        """Count the calls that went through."""
        return sum(int(proxy.stats()["requests"]["total"]) for proxy in self._proxies.values())

    def faults(self) -> dict[str, int]:
        """Count the calls that were broken, by kind of fault."""
        return total([fired(proxy.stats()) for proxy in self._proxies.values()])

    def __enter__(self) -> Self:
        """Start them."""
        try:
            for proxy in self._proxies.values():
                self._exit.enter_context(proxy)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop them."""
        self._exit.close()


if __name__ == "__main__":
    # Installed ahead, no test waits for it.
    print(ensure("microburst", LOCK))
