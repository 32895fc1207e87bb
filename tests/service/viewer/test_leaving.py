from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from datalake_service.viewer.app import make_app
from datalake_service.viewer.events import LOCAL_PACE, Watcher
from datalake_service.viewer.security import Access
from tests.support.live import DATASET, looking, written

if TYPE_CHECKING:
    from starlette.applications import Starlette

ENDLESS = "len(list_filter(range(400000), lambda x: len(list_filter(range(4000 + n), lambda y: x = y)) > 9)) = 0"


async def ask_and_leave(app: Starlette, path: str, query: dict[str, str]) -> None:
    """One request by somebody who hangs up at once."""
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        await asyncio.sleep(0)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "headers": [(b"host", b"localhost")],
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "root_path": "",
    }
    await asyncio.wait_for(app(scope, receive, send), 300)


@pytest.mark.parametrize("what", ["count", "export"])
def test_what_nobody_waits_for_is_given_up(what: str) -> None:
    """A question that would take a day ends when its page is closed, and the next one gets its turn."""
    with written() as lake:
        lake.write("b1", [{"n": 1}])
        with looking(lake.store, seconds=86_400.0, at_once=1) as answers:
            access = Access.of("127.0.0.1", names=[], token=None)
            app = make_app(answers, Watcher(answers._lake, LOCAL_PACE), access)
            asyncio.run(ask_and_leave(app, f"/api/datasets/{DATASET}/{what}", {"where": ENDLESS}))
            assert answers.count(DATASET, {})["rows"] == 1
