"""Periodic work: a schedule for each tick, which the pump sends where there is no scheduler."""

from aws_cdk import aws_scheduler as scheduler
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.names import SCHEDULER
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel
from sharpwave.workers.work import ticks
from sharpwave.workers.work.envelope import Entry, message

_Schedule = scheduler.CfnSchedule


class Schedules(Construct):
    """Ticks are idempotent: one too many does no harm, and one late is made up by the next."""

    def __init__(self, scope: SharpwaveStack, id: str, *, every_minutes: int) -> None:
        super().__init__(scope, id)
        names, queues = scope.names, sorted({each.tick.queue for each in ticks.ALL})
        role = scope.own_role(
            SCHEDULER, "scheduler.amazonaws.com", policies.scheduler(names, queues)
        )
        unit = "minute" if every_minutes == 1 else "minutes"
        for duty in (each.tick for each in ticks.ALL):
            _Schedule(
                self,
                camel(duty.actor),
                name=names.name(f"sharpwave-{duty.actor}"),
                schedule_expression=f"rate({every_minutes} {unit})",
                flexible_time_window=_Schedule.FlexibleTimeWindowProperty(mode="OFF"),
                target=_Schedule.TargetProperty(
                    arn=names.queue(duty.queue),
                    role_arn=role.role_arn,
                    input=message(duty, [Entry("{}", "")], moment_ms=0),
                    retry_policy=_Schedule.RetryPolicyProperty(
                        maximum_event_age_in_seconds=300, maximum_retry_attempts=10
                    ),
                ),
            )
