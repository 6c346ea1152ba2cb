"""What needs AWS's CDK and Node.js: collected by `make synth` alone."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

collect_ignore_glob = [] if find_spec("aws_cdk") else ["test_*.py"]


@pytest.fixture(scope="session")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Synthesise a profile once, with the rules it must keep; gives the folder of its templates."""
    from sharpwave.infra.aws.plan import Plan
    from sharpwave.infra.aws.stacks.app import synthesise

    @cache
    def folder(profile: str) -> Path:
        made = tmp_path_factory.mktemp(profile)
        synthesise(Plan.of(profile), made)
        return made

    return folder
