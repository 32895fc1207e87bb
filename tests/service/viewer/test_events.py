from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datalake_service.viewer.events import LOCAL_PACE, REMOTE_PACE, Pace, Watcher
from tests.support.idle_hour import requests_in_an_hour
from tests.support.live import looking, written

FAST = Pace(0.01, 0.05)


async def events(stream: AsyncIterator[bytes], count: int) -> list[tuple[str, str, Any]]:
    """The next events: name, id, data."""
    found: list[tuple[str, str, Any]] = []
    async for block in stream:
        fields = dict(line.split(": ", 1) for line in block.decode().splitlines() if ": " in line and line[0] != ":")
        if "event" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
        if len(found) == count:
            return found
    return found


def test_changes_are_told_to_those_who_listen() -> None:
    """The lake's versions at once; then whatever changes, with how many rows are new."""
    with written() as lake, looking(lake.store) as answers:
        lake.write("b1", [{"n": 1}])

        async def listen() -> None:
            watcher = Watcher(answers._lake, FAST)
            stream = watcher.listen("posts", None)
            (_, _, first), (_, _, told) = await events(stream, 2)
            assert set(first["datasets"]) == {"posts"}
            assert (told["rows"], told["newRows"]) == (1, 0)
            lake.write("b1", [{"n": 2}, {"n": 3}])
            (_, second_id, second), (_, _, told) = await events(stream, 2)
            assert second != first
            assert (told["rows"], told["newRows"]) == (3, 2)
            await stream.aclose()
            # Another server, and a page that comes back knowing the last event: it is told what it does not know.
            other = Watcher(answers._lake, FAST)
            again = other.listen(None, second_id)
            heard = asyncio.create_task(events(again, 1))
            await asyncio.sleep(0.2)
            assert not heard.done()
            lake.merge("b1")
            ((name, _, third),) = await heard
            assert name == "lake"
            assert third["datasets"] != second["datasets"]
            await again.aclose()

        asyncio.run(listen())


def test_nobody_looks_when_nobody_listens() -> None:
    """And less often while nothing changes."""
    with written() as lake, looking(lake.store) as answers:
        lake.write("b1", [{"n": 1}])

        async def listen() -> None:
            watcher = Watcher(answers._lake, Pace(0.01, 60.0))
            stream = watcher.listen(None, None)
            await events(stream, 1)
            await asyncio.sleep(1.0)
            assert watcher.looks < 12  # 0.01 s, half as much longer each time, makes a second after nine waits
            await stream.aclose()
            ended = watcher.listen(None, None)
            await events(ended, 1)
            await ended.aclose()
            looks = watcher.looks
            await asyncio.sleep(0.3)
            assert watcher.looks <= looks + 1

        asyncio.run(listen())


def test_streams_end_with_the_server() -> None:
    """A server that stops does not wait for open pages."""
    with written() as lake, looking(lake.store) as answers:

        async def listen() -> None:
            watcher = Watcher(answers._lake, FAST)
            reading = asyncio.create_task(events(watcher.listen(None, None), 100))
            await asyncio.sleep(0.1)
            watcher.close()
            await asyncio.wait_for(reading, 10)

        asyncio.run(listen())


@pytest.mark.parametrize(("pace", "max_age", "looks"), [(LOCAL_PACE, 0.5, 370), (REMOTE_PACE, 2.0, 70)])
def test_an_hour_in_which_nothing_happens(pace: Pace, max_age: float, looks: int) -> None:
    """A page that is left open lists, and reads nothing; of a lake's page the root and each dataset are listed."""
    with written() as lake:
        for number in range(3):
            lake.write(f"b{number}", [{"n": number}])
        lake.merge("b0")
        counted = requests_in_an_hour(lake.store, pace, max_age=max_age, dataset="posts")
        assert looks * 0.9 < counted["looks"] <= looks
        assert counted["list"] == counted["looks"]
        assert counted.keys() == {"list", "looks"}
        counted = requests_in_an_hour(lake.store, pace, max_age=max_age, dataset=None)
        assert counted["list"] == 2 * counted["looks"]
