"""What the pipeline costs at list prices: from a model of its flow, or from measured counts."""

from sharpwave.infra.cost.bill import Bill, Line, Payer, Price, PriceFile, Use, load_prices, priced
from sharpwave.infra.cost.flow import Budget, Flow, budgets, decisions, signals
from sharpwave.infra.cost.measured import Measured, Usage, measured, usage_of
from sharpwave.infra.cost.month import Plan, alternatives, month

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
