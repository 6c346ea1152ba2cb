"""Signals from one agent to others, by our library on both ends."""

from flow import ORDERS, TARGETS, Flow, drive, in_background  # type: ignore[import-not-found]

from sharpwave.producers import Agent

FLOW = Flow()


def _receive(target: str) -> None:
    for delivery in Agent(target, prefix=ORDERS["prefix"]).inbox():
        FLOW.received(int(delivery.data["number"]), target)
        delivery.ack()


def main() -> None:
    """Receive in a thread per target, and send."""
    source = Agent("source", prefix=ORDERS["prefix"])

    def send(number: int, targets: list[str]) -> None:
        source.signal("BENCH", to=targets, data={"number": number, "text": "x" * ORDERS["bytes"]})

    for target in TARGETS:
        in_background(_receive, target)
    drive(FLOW, send)


if __name__ == "__main__":
    main()
