"""An operator writes, shares and forgets memory in an agent's name, as the agent would."""

import json
from typing import Any

import pytest

from sharpwave.infra.connection import Deployment

pytestmark = pytest.mark.usefixtures("deployment")


def test_the_commands_remember_share_list_and_forget(sharpwave: Any) -> None:
    written = ("memory", "remember", "hunter", "STRATEGY", "--data", '{"n": 1}')
    assert sharpwave(*written, "--dry-run")[0] == 0
    kept = sharpwave(*written, "--domain", "crypto", "--importance", "0.7")[1]
    entry = ("hunter", "STRATEGY", kept["SK"])

    shared = sharpwave("memory", "share", *entry, "--with", "bob", "--domain", "crypto")
    dry = sharpwave("memory", "share", *entry, "--revoke", "--dry-run")
    granted = sharpwave("memory", "grants", "hunter")[1]
    revoked = sharpwave("memory", "share", *entry, "--revoke")
    forgot = sharpwave("memory", "forget", "hunter", "STRATEGY", f"STRATEGY#{kept['SK']}")

    assert (kept["domain"], kept["importance"]) == ("crypto", 0.7)
    assert {shared[0], dry[0], revoked[0], forgot[0]} == {0}
    assert [(each["shared_with"], each["shared_domains"]) for each in granted] == [
        (["bob"], ["crypto"])
    ]
    assert sharpwave("memory", "grants", "hunter")[1] == []
    code, error = sharpwave("memory", "share", *entry, "--with", "bob")
    assert (code, error["kind"]) == (1, "Missing")
    code, error = sharpwave("memory", "remember", "hunter", "DREAM")
    assert (code, error["kind"]) == (2, "Misused")
    code, error = sharpwave("memory", "forget", "hunter", "FACT", "x#agent:eve")
    assert (code, error["kind"]) == (2, "Misused")


def test_what_no_table_takes_is_written_read_and_forgotten_in_s3(
    deployment: Deployment, sharpwave: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = f"{deployment.prefix}-large"
    s3 = deployment.session.client("s3", endpoint_url=deployment.endpoint("s3"))
    s3.create_bucket(Bucket=bucket)
    text = "x" * 500_000
    written = ("memory", "remember", "hunter", "FACT", "--data", json.dumps({"text": text}))
    recall = ("memory", "recall", "hunter", "--kind", "recent")

    def objects() -> int:
        return int(s3.list_objects_v2(Bucket=bucket).get("KeyCount", 0))

    code, refused = sharpwave(*written)
    assert (code, "409600" in refused["error"]) == (2, True)
    monkeypatch.setenv("SHARPWAVE_LARGE_ENTRIES", f"s3://{bucket}/memory")
    dry = sharpwave(*written, "--dry-run")
    assert (dry[0], objects()) == (0, 0)
    note = ("NOTE" if each == "FACT" else each for each in written)
    kept, noted = sharpwave(*written)[1], sharpwave(*note)[1]
    assert (kept["data"], kept["large"]["bytes"] > 500_000, objects()) == ({}, True, 2)

    (whole,) = sharpwave(*recall)[1]["recent"]
    place = noted["large"]["url"].removeprefix(f"s3://{bucket}/")
    s3.put_object(Bucket=bucket, Key=place, Body=b"{}")
    (lost,) = sharpwave(*recall)[1]["recent"]
    monkeypatch.delenv("SHARPWAVE_LARGE_ENTRIES")
    (pointer,) = sharpwave(*recall)[1]["recent"]
    monkeypatch.setenv("SHARPWAVE_LARGE_ENTRIES", f"s3://{bucket}/memory")

    assert whole["data"] == {"text": text}
    assert "is not what was stored" in lost["lost"]
    assert (pointer["data"], pointer["large"]) == ({}, noted["large"])
    assert sharpwave("memory", "forget", "hunter", "FACT", kept["SK"])[0] == 0
    assert objects() == 1
    code, error = sharpwave(*written, "--large-entries", "file:///tmp")
    assert (code, error["kind"]) == (2, "Misused")
