"""A limit holds for all processes of an agent together, and nobody else hears of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from sharpwave.producers import AsyncLimiter, RateLimited, Taken
from sharpwave.schemas import keys, tables

Connect = Callable[..., Any]

PER_MINUTE, BURST, LEASE = 600, 50, 5
#: Eight holders of leases in one process, which says its name for each token.
SCRIPT = f"""
import os, sys, threading, boto3
from sharpwave.producers import Agent

session = boto3.Session("test", "test", region_name="us-east-1")

def work():
    agent = Agent("risk", prefix=sys.argv[1], endpoint_url=sys.argv[2], session=session)
    limiter = agent.limit("openai", per_minute={PER_MINUTE}, burst={BURST})
    while True:
        limiter.wait()
        os.write(1, sys.argv[3].encode())

for _ in range(8):
    threading.Thread(target=work).start()
"""


def limiter(agent: Any, **numbers: int) -> Any:
    found = agent.limit("openai", **numbers)
    # Called from a test that does not await, as its agent is.
    return type(agent)(found, agent._loop) if isinstance(found, AsyncLimiter) else found


def test_an_agents_instances_share_its_limit(connect: Connect, pipeline: Any) -> None:
    agents = [connect("risk") for _ in "12"]
    for agent in agents:
        agent.state()  # its sign of life, and its connections, take no time from what follows
    one, other = (limiter(agent, per_minute=PER_MINUTE, burst=BURST) for agent in agents)

    assert one.lease == LEASE
    assert one.take(30) == Taken(30, 0)
    assert other.take(20) == Taken(20, 0)
    with pytest.raises(RateLimited) as limited:
        one.take(20)
    assert 0 < limited.value.retry_after_s <= 2
    assert one.wait(2, timeout_s=10).n == 2
    stored = pipeline.item(tables.STATE, keys.limit("risk", "openai"))
    assert stored["PK"] == "agent:risk"


def test_who_asks_twice_for_a_limit_holds_one_lease(connect: Connect, pipeline: Any) -> None:
    agent = connect("risk")

    for _ in range(3):
        limiter(agent, per_minute=6000).take()

    # One for the first, then two at once.
    assert pipeline.item(tables.STATE, keys.limit("risk", "openai"))["rev"] == 2
    assert limiter(agent, per_minute=6000).name == "openai"


def test_thirty_two_holders_keep_the_limit_and_outlive_those_that_are_killed(
    pipeline: Any, endpoint: str
) -> None:
    """Four processes of eight; whoever has the thirtieth token is killed, as by `kill -9`."""
    reads, writes = os.pipe()
    with ExitStack() as ended:
        ended.callback(os.close, reads)
        with ExitStack() as started:
            started.callback(os.close, writes)
            command = [sys.executable, "-c", SCRIPT, pipeline.prefix, endpoint]
            workers = [
                ended.enter_context(subprocess.Popen([*command, name], stdout=writes))
                for name in "0123"
            ]
        for worker in workers:
            ended.callback(worker.kill)
        taken = os.read(reads, 1)
        began = time.monotonic()
        while len(taken) < 30:
            taken += os.read(reads, 1)
        workers[int(taken[-1:])].kill()
        # More than there were at first: those that are left go on at the rate.
        while len(taken) < BURST + 15:
            taken += os.read(reads, 1)
        for worker in workers:
            worker.kill()
        took = time.monotonic() - began
        taken += b"".join(iter(lambda: os.read(reads, 100), b""))

    # The bucket is a little older than the first word of it.
    assert len(taken) <= BURST + (took + 0.5) * PER_MINUTE / 60 + LEASE
