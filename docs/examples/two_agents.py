"""Two agents with a memory: a scout tells of whales, a manager decides by what was learnt.

pip install .                # in a checkout of sharpwave
AWS_ENDPOINT_URL=http://127.0.0.1:4566 python two_agents.py
"""

from sharpwave.producers import Agent, MemoryAwareAgent


class Manager(MemoryAwareAgent):
    agent_id, subscriptions = "manager", ["WHALE_ACTIVITY"]

    def decide(self, delivery, recalled):
        avoided = any(one.avoid for one in recalled if one.is_proven)
        choice = {"selected": ["wait" if avoided else "buy"]}
        return {"decision_type": "ENTRY", "context": delivery.data, "reasoning": choice}

    def advance(self, state, delivery, intent):
        return {"whales": state.get("whales", 0) + delivery.data["whale_count"]}

    def judge(self, decision):
        return {"success": decision.context["whale_count"] > 3, "quality_score": 0.9}


with Agent("scout") as scout, Manager() as manager:
    scout.register()
    manager.agent.register(subscriptions=manager.subscriptions)
    scout.signal("WHALE_ACTIVITY", to="manager", data={"whale_count": 5}, confidence=0.85)
    manager.run(limit=1)
    print(manager.agent.decisions()[0].decision_id, manager.agent.state().state["whales"])
