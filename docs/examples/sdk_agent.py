"""An agent on the SDK: register, send a signal, work the inbox, decide once per delivery.

pip install .                # in a checkout of sharpwave
AWS_ENDPOINT_URL=http://127.0.0.1:4566 python sdk_agent.py
"""

from sharpwave.producers import Agent

with Agent("sdk-agent") as agent:
    agent.register(subscriptions=["WHALE_ACTIVITY"])
    agent.signal("WHALE_ACTIVITY", to="sdk-agent", data={"whale_count": 5}, confidence=0.85)

    for delivery in agent.inbox(limit=1):
        decision = delivery.decide(
            "RISK_ASSESSMENT",
            context={"whale_count": delivery.data["whale_count"]},
            reasoning={"patterns_applied": ["pattern_whale_pump"]},
        )
        agent.record_outcome(decision, success=True, quality_score=0.9)
        print(f"{decision.decision_id} settles {delivery.delivery_id}")
