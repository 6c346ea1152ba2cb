"""What a deployment keeps: the tables, the archive's bucket, and the key of both."""

import aws_cdk as cdk
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from sharpwave.infra.aws import policies
from sharpwave.infra.aws.names import OPERATOR
from sharpwave.infra.aws.plan import Plan
from sharpwave.infra.aws.stacks.base import SharpwaveStack, camel, fixed, private_bucket
from sharpwave.schemas.tables import TABLES, TTL_ATTRIBUTE, Table

_TYPES = {"S": dynamodb.AttributeType.STRING, "N": dynamodb.AttributeType.NUMBER}


class Data(SharpwaveStack):
    """Tables and archive outlive the stack, whatever becomes of it."""

    def __init__(self, scope: Construct, id: str, plan: Plan) -> None:
        super().__init__(scope, id, plan, "Sharpwave: tables, archive and the operators' role")
        key = self._own_key() if plan.own_key else None
        for table in TABLES:
            self._table(table, plan, key)
        colder = s3.Transition(
            storage_class=s3.StorageClass.GLACIER_INSTANT_RETRIEVAL,
            transition_after=cdk.Duration.days(plan.archive_cold_days),
        )
        whole = cdk.Duration.days(plan.archive_days) if plan.archive_days else None
        archive = private_bucket(
            self,
            "Archive",
            key,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="parts",
                    expiration=whole,
                    transitions=[colder] if plan.archive_cold_days else None,
                    noncurrent_version_expiration=cdk.Duration.days(90),
                    abort_incomplete_multipart_upload_after=cdk.Duration.days(1),
                )
            ],
        )
        role = self.held_role(
            "OperatorRole",
            name=self.names.own_role(OPERATOR),
            of_agent=False,
            statements=policies.operator(self.names, archive.bucket_arn),
        )
        self.tell("archive", archive.bucket_name, "Bucket of the archive")
        cdk.CfnOutput(self, "OperatorRoleArn", value=role.role_arn)

    def _own_key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description="What this deployment of Sharpwave stores",
            enable_key_rotation=True,
            removal_policy=cdk.RemovalPolicy.RETAIN,
            policy=iam.PolicyDocument(
                statements=[
                    iam.PolicyStatement(
                        sid="Account",
                        principals=[iam.AccountRootPrincipal()],
                        actions=["kms:*"],
                        resources=["*"],
                    ),
                    # As keys that AWS manages do it: who may use a table or a queue may have it
                    # decrypted, and nobody may decrypt anything by itself.
                    iam.PolicyStatement(
                        sid="ByServices",
                        principals=[iam.AnyPrincipal()],
                        actions=[
                            *("kms:Encrypt", "kms:Decrypt", "kms:ReEncryptFrom"),
                            *("kms:ReEncryptTo", "kms:GenerateDataKey"),
                            *("kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"),
                            "kms:CreateGrant",
                        ],
                        resources=["*"],
                        conditions={
                            "StringEquals": {
                                "kms:CallerAccount": cdk.Aws.ACCOUNT_ID,
                                "kms:ViaService": [
                                    f"{service}.{cdk.Aws.REGION}.amazonaws.com"
                                    for service in ("dynamodb", "sqs", "s3", "sns", "dax")
                                ],
                            }
                        },
                    ),
                    iam.PolicyStatement(
                        sid="Alarms",
                        principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
                        actions=["kms:Decrypt", "kms:GenerateDataKey"],
                        resources=["*"],
                        conditions={"StringEquals": {"aws:SourceAccount": cdk.Aws.ACCOUNT_ID}},
                    ),
                ]
            ),
        )
        fixed(key, "Key")
        self.tell("key", key.key_arn, "Key of tables, queues and buckets")
        return key

    def _table(self, table: Table, plan: Plan, key: kms.IKey | None) -> None:
        made = dynamodb.Table(
            self,
            camel(table.name),
            table_name=self.names.name(table.name),
            partition_key=dynamodb.Attribute(name="PK", type=_TYPES["S"]),
            sort_key=dynamodb.Attribute(name="SK", type=_TYPES["S"]),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES if table.streamed else None,
            time_to_live_attribute=TTL_ATTRIBUTE,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True, recovery_period_in_days=plan.recovery_days
            ),
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED if key else None,
            encryption_key=key,
            deletion_protection=plan.deletion_protection,
            removal_policy=cdk.RemovalPolicy.RETAIN,
        )
        for index in table.indexes:
            carried = dynamodb.ProjectionType.INCLUDE if index.include else None
            made.add_global_secondary_index(
                index_name=index.name,
                partition_key=dynamodb.Attribute(name=index.hash_key, type=_TYPES["S"]),
                sort_key=dynamodb.Attribute(name=index.range_key, type=_TYPES[index.range_type])
                if index.range_key
                else None,
                projection_type=carried or dynamodb.ProjectionType.KEYS_ONLY,
                non_key_attributes=list(index.include) or None,
            )
        fixed(made, camel(table.name))
        if table.streamed:
            stream = made.table_stream_arn
            assert stream is not None
            self.tell(f"stream-{table.name}", stream, f"Stream of {table.name}")
