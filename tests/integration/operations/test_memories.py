"""An operator writes, shares and forgets memory in an agent's name, as the agent would."""

from typing import Any

import pytest

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
