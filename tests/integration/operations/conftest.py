"""For each test a deployment of its own, under a fresh prefix."""

import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from sharpwave.infra.cli import main
from sharpwave.infra.connection import Deployment, connect
from sharpwave.infra.local import Backend
from sharpwave.infra.provision.structure import provision

Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def bare(backend: Backend) -> Deployment:
    """A deployment without anything in it."""
    prefix = f"t{uuid4().hex[:10]}"
    return connect({}, endpoint_url=backend.endpoint_url, prefix=prefix)


@pytest.fixture
def deployment(bare: Deployment) -> Deployment:
    """A provisioned deployment."""
    provision(bare)
    return bare


@pytest.fixture
def sharpwave(bare: Deployment, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with --json against the test's deployment; gives exit code and answer."""

    def call(*argv: str) -> tuple[int, Any]:
        capsys.readouterr()
        at = ["--endpoint-url", str(bare.endpoint_url), "--prefix", bare.prefix, "--json"]
        code = main([*argv, *at])
        shown = capsys.readouterr()
        print(shown.err, file=sys.stderr)
        return code, json.loads(shown.out or shown.err)

    return call
