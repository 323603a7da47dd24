"""The fake upstream, one for all tests of the adapters."""

from collections.abc import Iterator

import pytest

from tests.adapters.upstream import Upstream, upstream


@pytest.fixture(scope="session")
def server() -> Iterator[Upstream]:
    with upstream() as running:
        yield running
