"""What is to be broken is there, and every mutant that may live says why."""

import tomllib

import pytest

from tests.mutation.__main__ import HARMLESS, ROOT, TARGETS, harmless


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_names_modules_and_tests_that_exist(name: str) -> None:
    target = TARGETS[name]
    modules = [f"{path.partition('/')[0]}/sharpwave/{path}" for path in target.modules]

    assert [path for path in (*modules, *target.tests) if not (ROOT / path).exists()] == []


def test_what_may_live_belongs_to_a_target_and_is_listed_once_with_a_reason() -> None:
    said = tomllib.loads(HARMLESS.read_text())
    groups = [each for of_target in said.values() for each in of_target]

    assert said.keys() <= TARGETS.keys()
    assert all(each["why"].endswith(".") for each in groups)
    for name in TARGETS:
        listed = [change for each in said.get(name, []) for change in each["mutants"]]
        assert len(listed) == len(harmless(name))
