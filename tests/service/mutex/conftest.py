"""One server of the mutex for a module, and a name for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mutex_server import mutex_server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that grants at once."""
    with mutex_server() as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A lock that no other test uses."""
    return str(request.node.nodeid)
