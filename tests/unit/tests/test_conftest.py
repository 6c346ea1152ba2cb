"""What makes hundreds of tests quick is in force."""

import boto3


def test_sessions_share_what_botocore_reads() -> None:
    first, second = (boto3.Session()._session.get_component("data_loader") for _ in range(2))

    assert first is second
