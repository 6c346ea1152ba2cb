"""Memory and state in redis agent-memory-server: long-term memories, and `data` of sessions."""

import json
import urllib.error
import urllib.request
from typing import Any

from drill import ENTRIES, TEXT, WANTED, drill  # type: ignore[import-not-found]
from promote_redis import Server, serve, until  # type: ignore[import-not-found]


class Theirs:
    """One client of the server, which speaks HTTP."""

    def __init__(self, url: str, number: int) -> None:
        self._url, self._own = url, f"state-{number}"

    def recall(self) -> int:
        """Search for the nearest memories; the text is embedded for it."""
        asked = {"text": TEXT, "namespace": {"eq": "bench"}, "limit": WANTED}
        return len(self._ask("POST", "/v1/long-term-memory/search", asked)["memories"])

    def save(self, number: int) -> None:
        """Write the session's data anew."""
        self._put(self._own, number)

    def add(self) -> None:
        """Read what all share, and write it with one more."""
        self._put("shared", self.total() + 1)

    def total(self) -> int:
        """Read what was added."""
        try:
            found = self._ask("GET", "/v1/working-memory/shared?namespace=bench&user_id=bench")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return 0
            raise
        return int((found["data"] or {}).get("number", 0))

    def _put(self, session: str, number: int) -> None:
        body = {"messages": [], "data": {"number": number}, "namespace": "bench"}
        self._ask("PUT", f"/v1/working-memory/{session}", {**body, "user_id": "bench"})

    def _ask(self, method: str, path: str, asked: Any = None) -> Any:
        request = urllib.request.Request(
            self._url + path,
            data=None if asked is None else json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


def _drilled(server: Server) -> None:
    # Other texts each, or they would be taken for one.
    server.put("notes", [(f"note-{entry}", f"{entry}: {TEXT}") for entry in range(ENTRIES)])
    if not until(lambda: server.count() >= ENTRIES, 60, 0.05):
        raise SystemExit(f"only {server.count()} of {ENTRIES} entries were promoted within 60 s")
    drill(lambda number: Theirs(server.url, number))


if __name__ == "__main__":
    serve(_drilled)
