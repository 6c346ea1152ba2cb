"""A limit holds for all processes of an agent together, and nobody else hears of it."""

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
#: Eight holders of leases in one process; says for each token that it has one.
SCRIPT = f"""
import os, sys, threading, boto3
from sharpwave.producers import Agent

session = boto3.Session("test", "test", region_name="us-east-1")

def work():
    agent = Agent("risk", prefix=sys.argv[1], endpoint_url=sys.argv[2], session=session)
    limiter = agent.limit("openai", per_minute={PER_MINUTE}, burst={BURST})
    while True:
        limiter.wait()
        os.write(1, b".")

for _ in range(8):
    threading.Thread(target=work).start()
"""


def limiter(agent: Any, **numbers: int) -> Any:
    found = agent.limit("openai", **numbers)
    # Called from a test that does not await, as its agent is.
    return type(agent)(found, agent._loop) if isinstance(found, AsyncLimiter) else found


def test_an_agents_instances_share_its_limit(connect: Connect, pipeline: Any) -> None:
    one, other = (limiter(connect("risk"), per_minute=PER_MINUTE, burst=BURST) for _ in "12")

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
    """Four processes of eight; one is killed in the middle, as if by `kill -9`."""
    with ExitStack() as ended:
        command = [sys.executable, "-c", SCRIPT, pipeline.prefix, endpoint]
        workers = [
            ended.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE)) for _ in range(4)
        ]
        for worker in workers:
            ended.callback(worker.kill)
        assert workers[0].stdout is not None
        workers[0].stdout.read(1)
        # The bucket may have been there for as long as they have.
        began = time.monotonic()
        time.sleep(0.5)
        workers[0].kill()
        time.sleep(1.5)
        for worker in workers:
            worker.kill()
        took = time.monotonic() - began
        counts = [len(worker.communicate()[0]) for worker in workers]

    assert sum(counts) <= BURST + (took + 1) * PER_MINUTE / 60 + LEASE
    # The burst alone would be used up long before.
    assert sum(counts) >= BURST + 10
