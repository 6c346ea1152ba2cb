"""What the pipeline costs at list prices: from a model of its flow, or from measured counts."""

from sharpwave.infra.cost.bill import Bill, Line, Payer, Use, priced
from sharpwave.infra.cost.budgets import Verdict, verdicts
from sharpwave.infra.cost.flow import Flow, decisions, signals
from sharpwave.infra.cost.measured import Measured, Usage, measured, usage_of
from sharpwave.infra.cost.month import Plan, alternatives, month
from sharpwave.infra.cost.prices import Price, PriceFile, load_prices

__all__ = [
    "Bill",
    "Flow",
    "Line",
    "Measured",
    "Payer",
    "Plan",
    "Price",
    "PriceFile",
    "Usage",
    "Use",
    "Verdict",
    "alternatives",
    "decisions",
    "load_prices",
    "measured",
    "month",
    "priced",
    "signals",
    "usage_of",
    "verdicts",
]
