"""A pytest plugin: the same examples for each mutant, and the cheapest test first."""

import json
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from sharpwave.workers.router import fast_path, router

#: Where mutmut keeps how long each test took without a mutant, in the folder that tests run in.
_TIMES = Path("mutmut-stats.json")


def pytest_sessionstart() -> None:
    """Make examples follow from the test alone, and waste no time on the smallest that fails."""
    # After conftest.py chose our profile, and before the tests are imported, which take it up.
    settings.register_profile(
        "mutants",
        settings.get_profile("sharpwave"),
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),
    )
    settings.load_profile("mutants")


def pytest_runtest_setup() -> None:
    """Forget what the router found out in other tests, which would stand in for a mutant."""
    for each in (*vars(fast_path).values(), *vars(router).values(), *fast_path.PARTITIONS.values()):
        if isinstance(each, fast_path.Known):
            each.clear()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the quickest: most mutants never meet a test of seconds."""
    took = json.loads(_TIMES.read_text())["duration_by_test"] if _TIMES.exists() else {}
    items.sort(key=lambda item: took.get(item.nodeid, 0.0))
