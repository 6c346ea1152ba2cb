"""An asynchronous agent: the same methods, awaited.

pip install '.[async]'       # in a checkout of sharpwave
AWS_ENDPOINT_URL=http://127.0.0.1:4566 python sdk_agent_async.py
"""

import asyncio

from sharpwave.producers import AsyncAgent


async def main() -> None:
    async with AsyncAgent("sdk-agent") as agent:
        await agent.register(subscriptions=["WHALE_ACTIVITY"])
        await agent.signal("WHALE_ACTIVITY", to="sdk-agent", data={"whale_count": 5})

        async for delivery in agent.inbox(limit=1):
            context = {"whale_count": delivery.data["whale_count"]}
            decision = await delivery.decide("RISK_ASSESSMENT", context=context)
            await agent.record_outcome(decision, success=True, quality_score=0.9)
            print(f"{decision.decision_id} settles {delivery.delivery_id}")


asyncio.run(main())
