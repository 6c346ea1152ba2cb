"""One running system for the tests of this folder; it ends with the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from sharpwave.infra.local import Backend
from sharpwave.infra.local.stack import Stack, StackOptions

if TYPE_CHECKING:
    from tests.integration.conftest import MakeWorld, World


# Left running until the session ends it would take a tenth of a core from all other tests.
@pytest.fixture(scope="package")
def stack(borrowed: Callable[[], Backend], options: StackOptions) -> Iterator[Stack]:
    """A whole system on the session's backend: the pump, and a worker service per queue."""
    with Stack(borrowed(), options) as running:
        yield running


@pytest.fixture
def world(stack: Stack, make_world: MakeWorld) -> World:
    """The running system, with agents of this test's own."""
    return make_world(stack)
