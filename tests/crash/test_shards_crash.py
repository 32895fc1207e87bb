"""A stream that is scaled while processes read it and die: each record is in the lake once, parents come first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskStatus
from tests.crash.deaths import KINDS, Death, dies, examples
from tests.support.stream_server import StreamServer, stream_server
from tests.support.streaming import Streaming

Step = tuple[str, int] | Death
STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 12)),
    st.tuples(st.just("split"), st.integers(0, 9)),
    st.tuples(st.just("merge"), st.integers(0, 9)),
    st.tuples(st.integers(1, 60), st.sampled_from(KINDS)),  # a run that dies at this operation
)


@contextmanager
def reachable(stream: StreamServer) -> Iterator[None]:
    """The settings of this process name the server."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stream.environment.items():
            patch.setenv(name, value)
        yield


def open_shards(stream: StreamServer) -> list[str]:
    """Shards that take records."""
    return [name for name, shard in stream.shards.items() if not shard.closed]


def change(stream: StreamServer, what: str, number: int, written: int) -> int:
    """Write or scale; returns how many records there are now."""
    names = open_shards(stream)
    if what == "put":
        texts = [f"text {written + offset}" for offset in range(number)]
        stream.put(names[(written + number) % len(names)], *texts)
        return written + number
    if what == "split" and len(stream.shards) < 12:
        stream.split(names[number % len(names)])
    elif what == "merge" and len(names) > 1:
        stream.merge(names[number % len(names)], names[(number + 1) % len(names)])
    return written


def is_complete(streaming: Streaming) -> bool:
    """Whether every closed shard is read to its end."""
    states = streaming.states()
    closed = [name for name, shard in streaming.stream.shards.items() if shard.closed]
    return all(name in states and states[name].status is TaskStatus.COMPLETED for name in closed)


@settings(max_examples=examples(8))
@given(steps=st.lists(STEPS, max_size=10), chunk_size=st.integers(1, 5))
def test_whatever_dies_each_record_is_there_once(steps: list[Step], chunk_size: int) -> None:
    """Written, split, merged and killed in any order, then read in peace."""
    with tempfile.TemporaryDirectory() as folder, stream_server(2) as stream, reachable(stream):
        streaming = Streaming(Path(folder), stream, chunk_size=chunk_size)
        written = change(stream, "put", 1, 0)
        for step in steps:
            if isinstance(step[0], str):
                written = change(stream, step[0], int(step[1]), written)
            else:
                dies(streaming.store, streaming.run, step)
        streaming.run()
        assert is_complete(streaming)
        assert streaming.texts() == sorted(f"text {number}" for number in range(written))
        begun = {shard: position for position, shard in reversed(list(enumerate(streaming.order)))}
        ended = {shard: position for position, shard in enumerate(streaming.order)}
        for name, shard in stream.shards.items():
            assert all(ended[parent] < begun[name] for parent in shard.parents)
