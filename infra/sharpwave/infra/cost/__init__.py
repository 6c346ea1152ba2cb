"""What the pipeline costs at list prices: from a model of its flow, or from measured counts."""

from sharpwave.infra.cost.bill import (
    Bill,
    Line,
    Measured,
    Payer,
    Price,
    PriceFile,
    Usage,
    Use,
    load_prices,
    measured,
    priced,
    usage_of,
)
from sharpwave.infra.cost.flow import (
    Budget,
    Flow,
    Plan,
    alternatives,
    budgets,
    decisions,
    month,
    signals,
)

__all__ = [
    "Bill",
    "Budget",
    "Flow",
    "Line",
    "Measured",
    "Payer",
    "Plan",
    "Price",
    "PriceFile",
    "Usage",
    "Use",
    "alternatives",
    "budgets",
    "decisions",
    "load_prices",
    "measured",
    "month",
    "priced",
    "signals",
    "usage_of",
]
