"""What AWS calls consume, by the rules AWS bills them with."""

from sharpwave.workers.metering.charges import charges, reported
from sharpwave.workers.metering.names import Charge, Names

__all__ = ["Charge", "Names", "charges", "reported"]
