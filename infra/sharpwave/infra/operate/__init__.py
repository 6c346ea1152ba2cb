"""What an operator asks and does: one module per concern."""


def plural(number: int, noun: str) -> str:
    """Write a number with its noun: 1 message, 2 messages."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
