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
from tests.chaos.weather import Rule, fired, total

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
