"""How sure a reader of its inbox rows is of a sender."""

import pytest

from sharpwave.producers.call import Identity
from sharpwave.producers.operations.signals import SignalView, get_signals_for_agent
from sharpwave.schemas.numbers import item_to_wire


def view_of(signal_pk: str) -> SignalView:
    row = {
        "PK": "agent:risk#inbox",
        "SK": "2026-11-22T14:30:00.000Z#uid",
        "signal_pk": signal_pk,
        "signal_sk": "2026-11-22T14:30:00Z#sig_1",
        "signal_id": "sig_1",
        "signal_type": "WHALE",
        "source_agent": "hunter",
        "timestamp": 1_795_357_800,
        "expires_at": 1_795_444_200,
    }
    reading = get_signals_for_agent(Identity("risk"))
    next(reading)
    reading.send({"Items": [item_to_wire(row)]})
    with pytest.raises(StopIteration) as done:
        reading.send({"Responses": {}})
    (view,) = done.value.value
    assert isinstance(view, SignalView)
    return view


def test_a_signal_under_its_senders_own_key_is_bound() -> None:
    assert view_of("signal#WHALE#hunter").provenance == "bound"


@pytest.mark.parametrize("signal_pk", ["signal#WHALE", "signal#WHALE#other"])
def test_any_other_key_leaves_the_sender_unverified(signal_pk: str) -> None:
    assert view_of(signal_pk).provenance == "unverified"
