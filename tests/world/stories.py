"""A short history that is told once for every call at which a process can die."""

from collections.abc import Callable
from random import Random

from tests.world.agents import Agents
from tests.world.checker import violations
from tests.world.faults import Crash, Faults
from tests.world.simulation import JUMPS_S, Report, add_pattern, watch
from tests.world.world import Process, World

Story = Callable[[Agents], None]
"""What the agents do before anybody works for them."""


def exhaust(story: Story, *, stride: int = 1) -> Report:
    """Tell a story once per port call and kind of crash, each dying at that one call.

    With a `stride` above 1 only every so many calls are tried.
    """
    total = tell(story, Faults())
    for call in range(1, total.calls + 1, stride):
        for after in (False, True):
            told = tell(story, Faults(crash_at=call, after=after))
            when = f"{'after' if after else 'before'} call {call}"
            total.crashes += told.crashes
            total.violations += [f"{when}: {fault}" for fault in told.violations]
    return total


def tell(story: Story, faults: Faults) -> Report:
    """Let a story happen, work it off with `faults`, and check what came of it.

    A process that dies is followed by one without faults.
    """
    world, report = World(), Report()
    add_pattern(world, owner="agent-0")
    crowd = Agents(world, Random(1), count=3)
    world.settle()
    watch(world, crowd)
    story(crowd)
    process = Process(world, faults)
    for jump in (0, *JUMPS_S):
        world.clock.advance(jump)
        world.tick()
        process = _work_off(world, process, report)
    report.calls = len(faults.calls)
    report.violations = list(violations(world, crowd.book))
    return report


def _work_off(world: World, process: Process, report: Report) -> Process:
    while world.pump() or world.queues.messages:
        if not world.queues.visible():
            world.clock.advance(5.0)
        for held in world.queues.visible():
            world.queues.receive(held)
            try:
                process.handle(held.body)
            except Crash:
                report.crashes += 1
                process = world.process()
                held.visible_at = world.clock() + 1.0
            else:
                report.handled += 1
                world.queues.delete(held)
    return process
