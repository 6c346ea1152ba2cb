"""Memory and state in LangGraph's DynamoDBStore, which knows no versions: a put is a put."""

from importlib import import_module

from drill import ENTRIES, ORDERS, TEXT, WANTED, Calls, drill  # type: ignore[import-not-found]

CALLS = Calls()


class Theirs:
    """One process's store."""

    def __init__(self, number: int) -> None:
        self._number = str(number)
        self._store = import_module("langgraph_checkpoint_aws").DynamoDBStore(
            table_name=ORDERS["table"], region_name="us-east-1", endpoint_url=ORDERS["endpoint"]
        )
        self._store.client.meta.events.register("before-send.dynamodb", CALLS.count)
        if not number:
            self._store.setup()
            for entry in range(ENTRIES):
                self._store.put(("notes",), str(entry), {"text": TEXT})

    def recall(self) -> int:
        """Read ten of the entries."""
        return len(self._store.search(("notes",), limit=WANTED))

    def save(self, number: int) -> None:
        """Put the client's state."""
        self._store.put(("states",), self._number, {"number": number})

    def add(self) -> None:
        """Read what all share, and put it with one more."""
        self._store.put(("states",), "shared", {"number": self.total() + 1})

    def total(self) -> int:
        """Read what was added."""
        found = self._store.get(("states",), "shared")
        return int(found.value["number"]) if found else 0


if __name__ == "__main__":
    drill(Theirs, CALLS)
