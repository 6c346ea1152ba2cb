"""A limit holds for all processes of an agent together, and nobody else hears of it."""

import os
import signal
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
PROCESSES, KILLED = 32, 8
#: Processes that say their number, as eight digits, for each token. The clients are made before
#: they part, as by a server that forks its workers: each opens connections of its own.
SCRIPT = f"""
import os, random, sys, boto3
from sharpwave.producers import Agent

session = boto3.Session("test", "test", region_name="us-east-1")
agent = Agent("risk", prefix=sys.argv[1], endpoint_url=sys.argv[2], session=session)
for _ in range({PROCESSES} - 1):
    if not os.fork():
        break
random.seed(os.getpid())
limiter = agent.limit("openai", per_minute={PER_MINUTE}, burst={BURST})
while True:
    limiter.wait()
    os.write(1, b"%08d" % os.getpid())
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


def test_thirty_two_processes_keep_the_limit_and_outlive_those_that_are_killed(
    pipeline: Any, endpoint: str
) -> None:
    """Whoever has the thirtieth token, or one of those after it, is killed as by `kill -9`."""
    command = [sys.executable, "-c", SCRIPT, pipeline.prefix, endpoint]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as first:
        assert first.stdout is not None
        with ExitStack() as ended:
            ended.callback(os.killpg, first.pid, signal.SIGKILL)
            taken, killed = [first.stdout.read(8)], set[bytes]()
            began = time.monotonic()
            # More than there were at first: those that are left go on at the rate.
            while len(taken) < BURST + 15:
                taken.append(first.stdout.read(8))
                if len(taken) >= 30 and len(killed) < KILLED and taken[-1] not in killed:
                    os.kill(int(taken[-1]), signal.SIGKILL)
                    killed.add(taken[-1])
        took = time.monotonic() - began
        rest = first.stdout.read()

    assert len(killed) == KILLED
    assert len(set(taken)) > KILLED
    # The bucket is a little older than the first word of it.
    most = BURST + (took + 0.5) * PER_MINUTE / 60 + LEASE
    assert len(taken) + len(rest) // 8 <= most
