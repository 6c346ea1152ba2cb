"""Tables and queues of a deployment: made, put right, and removed again."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from sharpwave.infra.connection import Deployment
from sharpwave.infra.provision import queue_setup, table_setup
from sharpwave.infra.provision.steps import Difference, Finding, Kind, Step
from sharpwave.schemas.queues import DLQ_SUFFIX, WORK_QUEUES
from sharpwave.schemas.tables import TABLES


@dataclass(frozen=True)
class Provisioned:
    """What was done, or with a dry run would be, and what was left as it is."""

    steps: tuple[Step, ...]
    differences: tuple[Difference, ...]

    @property
    def works(self) -> bool:
        """Say whether the pipeline can work with what is left as it is."""
        return not any(difference.breaks for difference in self.differences)


@dataclass(frozen=True)
class Kept:
    """Something `destroy` does not touch, and why."""

    kind: Kind
    name: str
    why: str


@dataclass(frozen=True)
class Destroyed:
    """What was deleted, or with a dry run would be, and what was kept."""

    steps: tuple[Step, ...]
    kept: tuple[Kept, ...]


def survey(deployment: Deployment) -> list[Finding]:
    """Compare all tables and work queues with their definitions; changes nothing."""
    return [
        *(found for table in TABLES for found in table_setup.table_findings(deployment, table)),
        *(
            found
            for queue in WORK_QUEUES
            for found in queue_setup.queue_findings(deployment, queue)
        ),
    ]


def provision(deployment: Deployment, *, dry_run: bool = False) -> Provisioned:
    """Make what is missing and put right what can be, without touching any item or message.

    Safe to repeat: a second run finds nothing to do.

    Raises:
        OperationFailed: the backend refuses a step; what was done before it stays.
    """
    return carry_out(survey(deployment), dry_run=dry_run)


def carry_out(findings: list[Finding], *, dry_run: bool) -> Provisioned:
    """Run the steps among the findings: what is missing is made before anything is mended."""
    steps = [found for found in findings if isinstance(found, Step)]
    # Tables take seconds to become active at AWS, so all are asked for before any is waited for.
    steps.sort(key=lambda step: step.action != "create")
    if not dry_run:
        for step in steps:
            step.run()
    left = tuple(found for found in findings if isinstance(found, Difference))
    return Provisioned(tuple(steps), left)


def destroy(deployment: Deployment, *, dry_run: bool = False) -> Destroyed:
    """Delete every table and queue that was made here, with all they hold; safe to repeat.

    Inbox queues go as well. What lacks the tag of this deployment is kept.
    """
    found = [*_doomed_queues(deployment), *_doomed_tables(deployment)]
    steps = tuple(one for one in found if isinstance(one, Step))
    if not dry_run:
        for step in steps:
            step.run()
    return Destroyed(steps, tuple(one for one in found if isinstance(one, Kept)))


def _doomed_queues(deployment: Deployment) -> Iterator[Step | Kept]:
    names = [queue.name for queue in WORK_QUEUES] + queue_setup.inbox_names(deployment)
    for name in [part for one in names for part in (one, one + DLQ_SUFFIX)]:
        attributes = queue_setup.attributes_of(deployment, name)
        if attributes is None:
            continue
        physical = deployment.name(name)
        if queue_setup.is_ours(deployment, name):
            held = attributes.get("ApproximateNumberOfMessages", "0")
            run = partial(queue_setup.delete, deployment, name)
            yield Step("delete", "queue", physical, f"with about {held} messages", run)
        else:
            yield Kept("queue", physical, "not made by `sharpwave provision` or `agents add`")


def _doomed_tables(deployment: Deployment) -> Iterator[Step | Kept]:
    for table in TABLES:
        name = deployment.name(table.name)
        found = table_setup.describe(deployment, name)
        if found is None:
            continue
        if table_setup.is_ours(deployment, found):
            held = found.get("ItemCount", 0)
            run = partial(table_setup.delete, deployment, name)
            yield Step("delete", "table", name, f"with about {held} items", run)
        else:
            yield Kept("table", name, "not made by `sharpwave provision`")
