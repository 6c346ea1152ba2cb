"""What every stack begins with: the parameter that all names depend on, and its tags."""

from collections.abc import Sequence
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.names import AGENT_PATH, OWN_PATH, Names
from sharpwave.infra.aws.plan import Plan
from sharpwave.schemas.ids import IN_WORDS, NAME_PREFIX


class SharpwaveStack(cdk.Stack):
    """A stack whose template needs nothing that was not deployed by such a template.

    Attributes:
        names: names of the deployment, in which the prefix is a parameter of the template.
    """

    def __init__(self, scope: Construct, id: str, plan: Plan, description: str) -> None:
        # Without assets there is nothing to prepare an account for.
        super().__init__(
            scope, id, description=description, synthesizer=cdk.BootstraplessSynthesizer()
        )
        prefix = cdk.CfnParameter(
            self,
            "Prefix",
            default=plan.prefix,
            allowed_pattern=NAME_PREFIX,
            constraint_description=IN_WORDS[NAME_PREFIX],
            description="Before every name; the same for all stacks of a deployment",
        )
        prefixed = cdk.CfnCondition(
            self,
            "IsPrefixed",
            expression=cdk.Fn.condition_not(cdk.Fn.condition_equals(prefix.value_as_string, "")),
        )

        def either(then: str, otherwise: str) -> str:
            return str(cdk.Fn.condition_if(prefixed.logical_id, then, otherwise).to_string())

        self.prefix = prefix.value_as_string
        self.names = Names(
            either(cdk.Fn.sub("${Prefix}-"), ""),
            either(cdk.Fn.sub("${Prefix}"), "default"),
            partition=cdk.Aws.PARTITION,
            region=cdk.Aws.REGION,
            account=cdk.Aws.ACCOUNT_ID,
        )
        # By this tag `sharpwave destroy` knows what belongs to the deployment.
        cdk.Tags.of(self).add("sharpwave", self.names.scope)

    def tell(self, what: str, value: str, description: str) -> None:
        """Export something that only AWS can name, for other stacks to look up."""
        cdk.CfnOutput(
            self,
            f"{camel(what)}Output",
            value=value,
            description=description,
            export_name=self.names.exported(what),
        )

    def told(self, what: str) -> str:
        """Look up what another stack exported."""
        return str(cdk.Fn.import_value(self.names.exported(what)))

    def key(self, plan: Plan) -> kms.IKey | None:
        """Look up the deployment's own key, if it has one."""
        return kms.Key.from_key_arn(self, "Key", self.told("key")) if plan.own_key else None

    def own_role(
        self, duty: str, service: str, statements: Sequence[policies.Statement]
    ) -> iam.IRole:
        """Make a role for a process of the deployment; nothing adds to it what is not in here."""
        made = iam.Role(
            self,
            f"{camel(duty)}Role",
            role_name=self.names.own_role(duty),
            path=OWN_PATH,
            assumed_by=iam.ServicePrincipal(service),
            inline_policies={"own": written(statements)},
        )
        fixed(made, f"{camel(duty)}Role")
        return made.without_policy_updates()

    def held_role(
        self, id: str, *, name: str, of_agent: bool, statements: Sequence[policies.Statement]
    ) -> iam.Role:
        """Make a role that the account says who may take."""
        made = iam.Role(
            self,
            id,
            role_name=name,
            path=AGENT_PATH if of_agent else OWN_PATH,
            assumed_by=iam.AccountRootPrincipal(),
            inline_policies={"own": written(statements)},
        )
        fixed(made, id)
        return made

    def log_group(self, id: str, name: str, plan: Plan) -> logs.LogGroup:
        """Make a log group that outlives nothing and keeps what the plan says."""
        return logs.LogGroup(
            self,
            id,
            log_group_name=name,
            retention=logs.RetentionDays[_DAYS[plan.log_days]],
            removal_policy=cdk.RemovalPolicy.DESTROY,
        )


def private_bucket(scope: Construct, id: str, key: kms.IKey | None, **more: Any) -> s3.Bucket:
    """Make a bucket that stays when its stack goes, for its account alone, over TLS, encrypted.

    Args:
        scope: what it is part of.
        id: what it is called in the template.
        key: the deployment's own key, if it has one.
        more: what CDK takes of a bucket beside this.
    """
    made = s3.Bucket(
        scope,
        id,
        encryption=s3.BucketEncryption.KMS if key else s3.BucketEncryption.S3_MANAGED,
        encryption_key=key,
        bucket_key_enabled=True if key else None,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        removal_policy=cdk.RemovalPolicy.RETAIN,
        **more,
    )
    fixed(made, id)
    return made


def written(statements: Sequence[policies.Statement]) -> iam.PolicyDocument:
    """Make CDK's policy document of plain statements."""
    return iam.PolicyDocument.from_json(policies.document(statements))


def fixed(construct: Any, logical_id: str) -> None:
    """Let a resource be called the same in every template, wherever its construct moves.

    CloudFormation deletes what is called otherwise, and for tables that is the end.
    """
    construct.node.default_child.override_logical_id(logical_id)


def camel(name: str) -> str:
    """Write a name as CloudFormation takes ids: letters and digits only."""
    return "".join(part.capitalize() for part in name.replace("-", "_").split("_"))


#: How CDK calls the times for which CloudWatch keeps logs.
_DAYS = {
    **{1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS"},
    **{30: "ONE_MONTH", 60: "TWO_MONTHS", 90: "THREE_MONTHS", 120: "FOUR_MONTHS"},
    **{150: "FIVE_MONTHS", 180: "SIX_MONTHS", 365: "ONE_YEAR", 400: "THIRTEEN_MONTHS"},
    **{545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1096: "THREE_YEARS", 1827: "FIVE_YEARS"},
    **{2192: "SIX_YEARS", 3653: "TEN_YEARS"},
}
