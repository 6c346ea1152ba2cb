"""MCP Agent Mail: its server and a client in one process, inboxes polled and acknowledged."""

import asyncio
import logging
import os
import traceback
from importlib import import_module
from typing import Any

from flow import ORDERS, TARGETS, Flow, drive, in_background  # type: ignore[import-not-found]

FLOW = Flow()
PROJECT = "/bench"
#: It names agents by its own rules, so they are noted here by ours.
NAMES: dict[str, str] = {}


async def _call(client: Any, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, {"project_key": PROJECT, **arguments})
    data = answer.structured_content
    return data.get("result", data) if isinstance(data, dict) else data


async def _acknowledge(client: Any, agent: str, message_id: int) -> None:
    about = {"project_key": PROJECT, "agent_name": agent, "message_id": message_id}
    order = {"tool_name": "acknowledge_message", "arguments": about}
    await client.call_tool("call_extended_tool", order)


async def _receive(client: Any, target: str) -> None:
    seen: set[int] = set()
    me = NAMES[target]
    while True:
        for message in await _call(client, "fetch_inbox", agent_name=me, limit=50):
            if message["id"] not in seen:
                seen.add(message["id"])
                FLOW.received(int(message["subject"]), target)
                await _acknowledge(client, me, message["id"])
        await asyncio.sleep(ORDERS["poll_s"])


async def _register(client: Any, agent: str) -> None:
    made = await _call(
        client, "register_agent", program="bench", model="none", name=f"Bench{agent.title()}"
    )
    NAMES[agent] = made["name"]


async def main() -> None:
    """Register everybody, poll in a task per target, and send."""
    logging.disable(logging.WARNING)
    server = import_module("mcp_agent_mail.app").build_mcp_server()
    loop = asyncio.get_running_loop()
    async with import_module("fastmcp").Client(server) as client:
        await client.call_tool("ensure_project", {"human_key": PROJECT})
        for agent in ("source", *TARGETS):
            await _register(client, agent)

        async def deliver(number: int, targets: list[str]) -> None:
            await _call(
                client,
                "send_message",
                sender_name=NAMES["source"],
                to=[NAMES[target] for target in targets],
                subject=str(number),
                body_md="x" * ORDERS["bytes"],
                ack_required=True,
            )

        def send(number: int, targets: list[str]) -> None:
            asyncio.run_coroutine_threadsafe(deliver(number, targets), loop).result()

        in_background(drive, FLOW, send)
        try:
            await asyncio.gather(*(_receive(client, target) for target in TARGETS))
        except Exception:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    asyncio.run(main())
