"""The templates say what the definitions say, which provisioning reads as well."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sharpwave.infra.aws.names import Names
from sharpwave.infra.aws.plan import PROFILES, Plan
from sharpwave.infra.aws.resolve import NotUnderstood, Template, resources, shipped
from sharpwave.schemas import tables
from sharpwave.schemas.queues import DLQ_ATTRIBUTES, WORK_QUEUES, Queue, of_agent
from sharpwave.schemas.tables import TABLES, TTL_ATTRIBUTE, create_request
from sharpwave.workers import emf
from sharpwave.workers.sqs.bodies import Bodies
from sharpwave.workers.work import ticks

ROOT = Path(__file__).parents[4]
DOCS = ROOT / "docs"
TEMPLATES = ROOT / "infra" / "sharpwave" / "infra" / "aws" / "templates"
STACKS = ("data", "messaging", "compute", "observability", "agent")
CODE = {"RouterCodeBucket": "code", "RouterCodeKey": "router.zip", "WorkerImage": "image:1"}
by_profile = pytest.mark.parametrize("profile", PROFILES)
by_prefix = pytest.mark.parametrize("prefix", ["", "prod"])


def made(profile: str, stack: str, prefix: str = "", **parameters: str) -> dict[str, Any]:
    template = shipped(profile, stack)
    given = {**parameters, **(CODE if stack == "compute" else {})}
    return resources(template, Names.of(prefix), Prefix=prefix, **given)


def of(kind: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    return [body["Properties"] for body in found.values() if body["Type"] == f"AWS::{kind}"]


def ordered(request: dict[str, Any]) -> dict[str, Any]:
    """Give a request without an order where AWS sees none."""
    listed = {name: value for name, value in request.items() if isinstance(value, list)}
    return {
        **request,
        **{
            name: sorted(value, key=json.dumps)
            for name, value in listed.items()
            if name != "KeySchema"
        },
    }


@by_profile
@by_prefix
def test_each_table_is_the_one_that_provisioning_makes(profile: str, prefix: str) -> None:
    found = {
        each["TableName"]: each for each in of("DynamoDB::Table", made(profile, "data", prefix))
    }

    for table in TABLES:
        wanted = create_request(table, prefix)
        properties = found.pop(wanted["TableName"])
        if stream := properties.get("StreamSpecification"):
            properties["StreamSpecification"] = {"StreamEnabled": True, **stream}
        assert ordered({name: properties[name] for name in wanted}) == ordered(wanted)
        assert ("StreamSpecification" in properties) == table.streamed
        ttl, recovery = (
            properties["TimeToLiveSpecification"],
            properties["PointInTimeRecoverySpecification"],
        )
        assert ttl == {"AttributeName": TTL_ATTRIBUTE, "Enabled": True}
        assert recovery["PointInTimeRecoveryEnabled"]
    assert found == {}


@by_profile
@by_prefix
def test_each_queue_is_the_one_that_provisioning_makes(profile: str, prefix: str) -> None:
    work = of("SQS::Queue", made(profile, "messaging", prefix))
    own = of("SQS::Queue", made(profile, "agent", prefix, AgentId="risk-manager"))
    found = {each["QueueName"]: each for each in (*work, *own)}

    for queue in (*WORK_QUEUES, *of_agent("risk-manager")):
        name, dlq = (tables.physical(each, prefix) for each in (queue.name, queue.dlq))
        arn = Names.of(prefix).dlq(queue.name)
        assert attributes(found.pop(name)) == wanted(queue, arn)
        dead = found.pop(dlq)
        assert str(dead["MessageRetentionPeriod"]) == DLQ_ATTRIBUTES["MessageRetentionPeriod"]
    assert found == {}


def attributes(properties: dict[str, Any]) -> dict[str, Any]:
    return {name: properties[name] for name in wanted(WORK_QUEUES[0], "")}


def wanted(queue: Queue, dlq_arn: str) -> dict[str, Any]:
    given = queue.attributes(dlq_arn)
    return {name: json.loads(value) for name, value in given.items()}


@by_profile
def test_what_is_tagged_is_what_destroy_knows(profile: str) -> None:
    for stack in ("data", "messaging"):
        for prefix, value in (("", "default"), ("prod", "prod")):
            for body in made(profile, stack, prefix).values():
                if body["Type"] in ("AWS::DynamoDB::Table", "AWS::SQS::Queue"):
                    assert {"Key": "sharpwave", "Value": value} in body["Properties"]["Tags"]


@by_profile
def test_what_holds_records_outlives_its_stack(profile: str) -> None:
    kept = ("AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::KMS::Key")

    for stack in ("data", "compute"):
        for body in made(profile, stack).values():
            if body["Type"] in kept:
                assert body["DeletionPolicy"] == body["UpdateReplacePolicy"] == "Retain"


@by_profile
def test_names_of_what_must_never_be_replaced_hold_no_digest(profile: str) -> None:
    kept = ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket", "AWS::KMS::Key")

    for stack in STACKS:
        for logical, body in shipped(profile, stack)["Resources"].items():
            if body["Type"] in kept:
                assert not re.search(r"[0-9A-F]{8}$", logical), logical


@by_profile
def test_each_stream_has_a_mapping_that_loses_nothing_in_silence(profile: str) -> None:
    plan, found = Plan.of(profile), made(profile, "compute")
    mappings = of("Lambda::EventSourceMapping", found)

    assert {each["EventSourceArn"] for each in mappings} == {
        f"<sharpwave-stream-{table}>" for table in tables.STREAMED
    }
    for each in mappings:
        assert each["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert each["BisectBatchOnFunctionError"]
        assert each["StartingPosition"] == "TRIM_HORIZON"
        assert each["MaximumRetryAttempts"] == plan.retries
        assert each["MaximumRecordAgeInSeconds"] == plan.record_age_s
        assert each["MetricsConfig"] == {"Metrics": ["EventCount"]}
        assert each["DestinationConfig"]["OnFailure"]["Destination"] == "arn:aws:s3:::<Failures>"


@by_profile
def test_the_filter_of_a_mapping_is_the_documented_one(profile: str) -> None:
    text = (DOCS / "DEPLOYMENT.md").read_text()
    (block,) = re.findall(r'```json\n(\{"Filters".*?)```', text, re.DOTALL)
    documented = [json.loads(each["Pattern"]) for each in json.loads(block)["Filters"]]
    filtered = {
        each["EventSourceArn"]: [
            json.loads(one["Pattern"]) for one in each["FilterCriteria"]["Filters"]
        ]
        for each in of("Lambda::EventSourceMapping", made(profile, "compute"))
        if "FilterCriteria" in each
    }

    assert filtered == {"<sharpwave-stream-agent_signals>": documented}


@by_profile
def test_each_queue_has_a_service_that_stops_before_others_get_its_messages(profile: str) -> None:
    found = made(profile, "compute")
    tasks = of("ECS::TaskDefinition", found)
    by_duty = {task["ContainerDefinitions"][0]["Command"][-1]: task for task in tasks}

    assert len(of("ECS::Service", found)) == len(WORK_QUEUES)
    for queue in WORK_QUEUES:
        [container] = by_duty[queue.name]["ContainerDefinitions"]
        [timeout] = [
            int(word.split("=")[1])
            for word in container["Command"]
            if word.startswith("--worker-shutdown-timeout=")
        ]
        assert timeout / 1000 < container["StopTimeout"] < queue.visibility_timeout_s


@by_profile
def test_a_service_scales_by_its_own_queue_even_from_no_task_at_all(profile: str) -> None:
    plan, found = Plan.of(profile), made(profile, "compute", "prod")
    targets = of("ApplicationAutoScaling::ScalableTarget", found)
    policies = of("ApplicationAutoScaling::ScalingPolicy", found)

    assert sorted(each["ResourceId"] for each in targets) == sorted(
        f"service/prod-sharpwave/prod-{queue.name}" for queue in WORK_QUEUES
    )
    assert {(each["MinCapacity"], each["MaxCapacity"]) for each in targets} == {
        (plan.min_tasks, plan.max_tasks)
    }
    measured = set()
    for each in policies:
        tracking = each["TargetTrackingScalingPolicyConfiguration"]
        metrics = tracking["CustomizedMetricSpecification"]["Metrics"]
        assert tracking["TargetValue"] == plan.backlog_per_task
        assert [one["Id"] for one in metrics if one["ReturnData"]] == [metrics[-1]["Id"]]
        by_id = {one["Id"]: one for one in metrics}
        measured.add(by_id["waiting"]["MetricStat"]["Metric"]["Dimensions"][0]["Value"])
        # With tasks, and with none: by how many the backlog is divided.
        expressions = {name: one.get("Expression") for name, one in by_id.items()}
        assert per_task(expressions, waiting=900, running=3) == 300
        assert per_task(expressions, waiting=900, running=0) == 900
        assert per_task(expressions, waiting=900, running=None) == 900
    assert measured == {f"prod-{queue.name}" for queue in WORK_QUEUES}


def per_task(expressions: dict[str, str | None], **values: int | None) -> float:
    """Reckon as CloudWatch does: a metric without data has none, unless it is filled in."""
    known: dict[str, Any] = {
        **values,
        "FILL": lambda value, otherwise: otherwise if value is None else value,
        "MAX": max,
    }
    for name, text in expressions.items():
        if text is not None:
            known[name] = eval(text, {"__builtins__": {}}, known)
    return float(known["per_task"])


@by_profile
def test_what_schedules_send_is_what_workers_read(profile: str) -> None:
    schedules = of("Scheduler::Schedule", made(profile, "compute", "prod"))
    sent = {
        each["Target"]["Arn"].rpartition(":prod-")[2]: Bodies()
        .decode(each["Target"]["Input"], queue_name="any")
        .actor_name
        for each in schedules
    }

    assert sent == {each.tick.queue: each.tick.actor for each in ticks.ALL}


@by_profile
def test_every_alarm_leads_to_a_runbook(profile: str) -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "OPERATIONS.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    alarms = of("CloudWatch::Alarm", made(profile, "observability", Watch="all"))

    assert alarms
    for each in alarms:
        said, place, anchor = re.fullmatch(
            r"(.+)\. See (.+)#(.+)", each["AlarmDescription"]
        ).groups()  # type: ignore[union-attr]
        assert (ROOT / place).exists()
        assert anchor in anchors
        assert said


@by_profile
def test_who_deploys_says_how_much_is_watched(profile: str) -> None:
    def counted(**said: str) -> tuple[list[str], int]:
        found = made(profile, "observability", **said)
        alarms = [each["AlarmName"] for each in of("CloudWatch::Alarm", found)]
        return alarms, len(of("CloudWatch::Dashboard", found))

    assert counted(Watch="few", ShowDashboard="yes") == (["sharpwave-router-lags"], 1)
    assert counted(Watch="none", ShowDashboard="no") == ([], 0)
    every, _ = counted(Watch="all")
    assert "sharpwave-deliver-dead-letters" in every
    # So many are free in an account.
    assert profile == "production" or len(every) <= 10


def test_a_hot_key_is_watched_in_tables_and_their_indexes() -> None:
    found = of("CloudWatch::Alarm", made("production", "observability", "prod"))
    hot = [each for each in found if each["AlarmName"].endswith("-hot-key")]
    told = {
        frozenset(said["Value"] for said in metric["MetricStat"]["Metric"]["Dimensions"])
        for each in hot
        for metric in each["Metrics"]
        if "MetricStat" in metric
    }

    alone = {frozenset({f"prod-{table.name}"}) for table in TABLES}
    assert told == alone | {
        frozenset({index.name, f"prod-{table.name}"}) for table in TABLES for index in table.indexes
    }


def test_the_alarm_on_miscounts_listens_to_what_verify_writes_and_stands_until_it_is_told() -> None:
    [alarm] = [
        each
        for each in of("CloudWatch::Alarm", made("production", "observability", "prod"))
        if each["AlarmName"] == "prod-sharpwave-miscounts"
    ]
    said = json.loads(emf.line(0, {"Deployment": "prod"}, {emf.MISCOUNTS: "Count"}, {}))
    [written] = said["_aws"]["CloudWatchMetrics"]

    assert alarm["Namespace"] == written["Namespace"]
    assert alarm["MetricName"] == written["Metrics"][0]["Name"]
    [dimension] = alarm["Dimensions"]
    assert {dimension["Name"]: dimension["Value"]} == {"Deployment": said["Deployment"]}
    assert alarm["TreatMissingData"] == "ignore"


def test_nobody_is_mailed_unless_an_address_is_given() -> None:
    assert of("SNS::Subscription", made("demo", "observability")) == []
    [mail] = of("SNS::Subscription", made("demo", "observability", AlarmAddress="ops@example.org"))
    assert mail["Endpoint"] == "ops@example.org"


def test_production_stays_within_its_network() -> None:
    found = made("production", "compute")

    assert of("EC2::InternetGateway", found) == of("EC2::NatGateway", found) == []
    for service in of("ECS::Service", found):
        network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
        assert network["AssignPublicIp"] == "DISABLED"
    [function] = of("Lambda::Function", found)
    assert function["VpcConfig"]["SubnetIds"]


def test_the_demo_pays_for_nothing_while_it_is_idle() -> None:
    found = made("demo", "compute")
    hourly = {"EC2::NatGateway", "DAX::Cluster", "EC2::EIP"}

    assert not [kind for kind in hourly if of(kind, found)]
    assert {each["VpcEndpointType"] for each in of("EC2::VPCEndpoint", found)} == {"Gateway"}
    assert of("KMS::Key", made("demo", "data")) == []


@by_profile
def test_what_the_guide_deploys_without_a_bucket_is_small_enough(profile: str) -> None:
    """CloudFormation takes 51,200 bytes in a call, as they are in the file."""
    guide = (DOCS / "DEPLOYMENT.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"aws cloudformation deploy .*/(\w+)\.json(.*)", guide)

    assert {stack for stack, _ in lines} == set(STACKS)
    for stack, options in lines:
        size = (TEMPLATES / profile / f"{stack}.json").stat().st_size
        assert "--s3-bucket" in options or size <= 51_200


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"Resources": {"A": {"Type": "x", "Properties": {"a": {"Fn::Nope": 1}}}}}, "Fn::Nope"),
        ({"Resources": {"A": {"Type": "x", "Properties": {"a": {"Ref": "B"}}}}}, "'B' is neither"),
        (
            {
                "Parameters": {"P": {"Type": "String"}},
                "Resources": {"A": {"Type": "x", "Properties": {"a": {"Ref": "P"}}}},
            },
            "'P' has no value",
        ),
    ],
)
def test_what_a_template_says_is_understood_or_refused(template: Template, said: str) -> None:
    with pytest.raises(NotUnderstood, match=said):
        resources(template, Names.of(""))
