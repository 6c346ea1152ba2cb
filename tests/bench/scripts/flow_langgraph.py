"""LangGraph's DynamoDBStore as an inbox: put under the target's namespace, polled and deleted."""

import time
from importlib import import_module
from typing import Any

from flow import ORDERS, TARGETS, Flow, drive, in_background  # type: ignore[import-not-found]

FLOW = Flow()


def _store() -> Any:
    made = import_module("langgraph_checkpoint_aws").DynamoDBStore(
        table_name=ORDERS["table"], region_name="us-east-1", endpoint_url=ORDERS["endpoint"]
    )
    made.setup()
    return made


def _receive(target: str) -> None:
    store = _store()
    while True:
        for item in store.search(("inbox", target), limit=100):
            FLOW.received(int(item.value["number"]), target)
            store.delete(item.namespace, item.key)
        time.sleep(ORDERS["poll_s"])


def main() -> None:
    """Poll in a thread per target, and send."""
    store = _store()

    def send(number: int, targets: list[str]) -> None:
        value = {"number": number, "text": "x" * ORDERS["bytes"]}
        for target in targets:
            store.put(("inbox", target), str(number), value)

    for target in TARGETS:
        in_background(_receive, target)
    drive(FLOW, send)


if __name__ == "__main__":
    main()
