"""What must be in a lake after a storm, from nothing but the journals. Shares no code with the product."""

from __future__ import annotations

import io
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq

from tests.processes.journal import Life

BATCHES = ("b1", "b10")
IN_FLIGHT = 4 + 10 * 4
"""Answers that one death may cost: of calls under way, of the chunk being filled, of eight and one on their way."""
_EXPECTED = re.compile(
    r"\.datalake/(probe\.json|time)|posts/\.state/.*\.json|posts/b10?/(merged\.parquet|manifest\.yaml)"
    r"|posts/annotations/lang/b10?/(merged\.parquet|manifest\.yaml)|posts/annotations/lang/\.temp/\.lock(\.time)?"
    r"|posts/annotations/lang/\.shared/(batches/b10?|whole)\.json|posts/annotations/lang/\.state/generations\.json"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a storm was like."""

    kills: dict[str, int]
    """By actor."""
    rows: int
    """In the end."""
    acknowledged: int
    calls: int
    """Of the annotating function."""
    again: int
    """Calls about a row that had been asked before: its answer died with its process, or it had failed."""
    merges: int
    readings: int
    errors: dict[str, int]
    """That processes met and got over, by kind."""
    left: int
    """Objects of dead processes that clean-up took away when they were old."""
    weather: dict[str, int] = field(default_factory=dict)
    """Requests and what became of them."""


@dataclass(slots=True)
class _Session:
    """One run of an annotator."""

    asked: dict[tuple[str, str], int] = field(default_factory=dict)
    """Rows, and when."""
    failed: set[tuple[str, str]] = field(default_factory=set)
    ended: bool = False
    """Whether its answers were acknowledged."""


def verify(
    lives: list[Life], objects: dict[str, bytes], *, kills: dict[str, int], left: int, weather: dict[str, int]
) -> Figures:
    """Compare everything that was said with everything that is there.

    Raises:
        AssertionError: They differ.
    """
    broken = [line["text"] for life in lives for line in life.all("broken")]
    assert not broken, broken
    offered, acknowledged = _values(lives, "offered"), _values(lives, "acknowledged")
    rows: dict[tuple[str, str], str] = {}
    for batch in BATCHES:
        found = _parquet(objects, f"posts/{batch}/merged.parquet", ["id", "value", "_batch"])
        values = Counter(row["value"] for row in found)
        missing = acknowledged[batch] - set(values)
        assert not missing, f"{batch}: {len(missing)} acknowledged rows are missing, among them {sorted(missing)[:5]}"
        strange = set(values) - offered[batch]
        assert not strange, f"{batch}: nobody wrote {sorted(strange)[:5]}"
        twice = sorted(value for value, count in values.items() if count > 1)
        assert not twice, f"{batch}: there more than once: {twice[:5]}"
        assert {row["_batch"] for row in found} == {batch}
        rows.update({(batch, row["id"]): row["value"] for row in found})
        assert len([key for key in rows if key[0] == batch]) == len(found), f"{batch}: ids are there twice"
    _check_annotations(objects, rows)
    _check_left(objects)
    calls, again = _check_calls(lives, rows)
    return Figures(
        kills=kills,
        rows=len(rows),
        acknowledged=sum(map(len, acknowledged.values())),
        calls=calls,
        again=again,
        merges=sum(line["merged"] for life in lives for line in life.all("cleaned")),
        readings=sum(len(life.all("read")) for life in lives),
        errors=dict(Counter(line["kind"] for life in lives for line in life.all("error"))),
        left=left,
        weather=weather,
    )


def _values(lives: list[Life], event: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for life in lives:
        for line in life.all(event):
            found[line["batch"]].update(line["values"])
    return found


def _parquet(objects: dict[str, bytes], key: str, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(objects[key]), columns=columns).to_pylist()
    return rows


def _check_annotations(objects: dict[str, bytes], rows: dict[tuple[str, str], str]) -> None:
    """Each row has one, and none is of a row that is not there."""
    found: dict[tuple[str, str], Any] = {}
    for batch in BATCHES:
        key = f"posts/annotations/lang/{batch}/merged.parquet"
        for row in _parquet(objects, key, ["id", "_batch", "_status", "length"]):
            name = (row["_batch"], row["id"])
            assert row["_batch"] == batch
            assert name not in found, f"annotated twice: {name}"
            found[name] = row["length"] if row["_status"] == "done" else row["_status"]
    expected = {name: "skipped" if value.endswith("7") else len(value) for name, value in rows.items()}
    assert set(found) <= set(rows), f"annotations of no row: {sorted(set(found) - set(rows))[:5]}"
    assert found == expected, (
        f"not annotated, or wrongly: {[key for key in rows if found.get(key) != expected[key]][:5]}"
    )


def _check_calls(lives: list[Life], rows: dict[tuple[str, str], str]) -> tuple[int, int]:
    """No answer that was acknowledged is asked for again; each death costs a few at most."""
    sessions = [session for life in lives if life.actor.startswith("annotator") for session in _sessions(life)]
    asks: dict[tuple[str, str], list[tuple[int, _Session]]] = defaultdict(list)
    for session in sessions:
        for row, at in session.asked.items():
            asks[row].append((at, session))
    assert set(asks) == set(rows), "rows that nobody asked about, or questions about no row"
    lost: Counter[int] = Counter()
    again = 0
    for row, times in asks.items():
        for _, session in sorted(times, key=lambda ask: ask[0])[:-1]:
            again += 1
            if row not in session.failed:
                assert not session.ended, f"{row} was asked again although its answer was acknowledged"
                lost[id(session)] += 1
    assert max(lost.values(), default=0) <= IN_FLIGHT, f"a death cost {max(lost.values())} answers"
    return sum(len(times) for times in asks.values()), again


def _sessions(life: Life) -> list[_Session]:
    found: list[_Session] = []
    for line in life.said:
        match line["event"]:
            case "session":
                found.append(_Session())
            case "asked":
                row = (line["row"][0], line["row"][1])
                assert row not in found[-1].asked, f"{row} was asked twice in one session"
                found[-1].asked[row] = line["at"]
            case "failed":
                found[-1].failed.add((line["row"][0], line["row"][1]))
            case "session ended":
                found[-1].ended = True
    return found


def _check_left(objects: dict[str, bytes]) -> None:
    """Nothing waits, and nothing lies about."""
    named = {_record(objects[f"posts/{batch}/merged.parquet"])["duplicates"] for batch in BATCHES}
    duplicates = {f"posts/{batch}/duplicates/{attempt}.jsonl" for batch in BATCHES for attempt in named}
    left = [key for key in objects if not _EXPECTED.fullmatch(key) and key not in duplicates]
    assert not left, f"left over: {left}"


def _record(body: bytes) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(pq.read_metadata(io.BytesIO(body)).metadata[b"datalake"])
    return record
