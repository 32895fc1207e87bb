from __future__ import annotations

import atexit
import csv
import io
import json
import shlex
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.cli.main import run
from datalake_service.pipeline.live import export as live_export
from datalake_service.viewer.answering import Answers
from datalake_service.viewer.exporting import AT_ONCE
from datalake_service.viewer.problems import BusyError
from tests.support.live import DATASET, Written, looking, written

ROWS: list[dict[str, Any]] = [
    {"n": 1, "text": 'a "b",\nc', "odd": {"x": [1, None]}, "ok": True},
    {"n": 2, "text": "", "odd": "text", "ok": None},
    {"n": 3, "text": " é\r", "odd": 2.5, "ok": False},
    {"n": 4, "text": None, "odd": None, "ok": False},
]
QUERY: dict[str, list[str]] = {
    "columns": ["n", "text", "odd", "ok", "lang.label"],
    "filter": ['{"type": "range", "field": "n", "le": 3}'],
    "where": ["lang.label IS NOT NULL OR n < 2"],
}


def fill(lake: Written) -> None:
    """Four rows, two of them annotated; one more waits for a merge."""
    lake.write("b1", ROWS)
    lake.merge("b1")
    lake.annotate("lang", {("b1", "000000-00000-1"): {"label": "en"}, ("b1", "000000-00000-3"): {"label": "de"}})
    lake.merge_annotations("lang")
    lake.write("b1", [{"n": 0}], minutes=1)


class Many:
    """A lake of several batches and chunks, made when it is needed first."""

    @cached_property
    def answers(self) -> Answers:
        """About it."""
        stack = ExitStack()
        atexit.register(stack.close)
        lake = stack.enter_context(written())
        for number in range(6):
            rows = [{"n": number, "odd": [number, "x", None, 2.5][at % 4], "text": f"t{at}"} for at in range(9)]
            lake.write(f"b{number % 3}", rows, minutes=number // 2, own=number == 4)
            if number == 3:
                for batch in range(3):
                    lake.merge(f"b{batch}")
                lake.annotate(
                    "lang", {key: {"label": f"l{at % 4}"} for at, key in enumerate(sorted(lake.merged)) if at % 3}
                )
                lake.merge_annotations("lang")
        return stack.enter_context(looking(lake.store))


MANY = Many()


def file_of(answers: Any, kind: str, *, order: str = "desc", where: str | None = None) -> bytes:
    """The whole file."""
    query = {**QUERY, "format": [kind], "order": [order]} | ({} if where is None else {"where": [where]})
    pieces, _, name = answers.export(DATASET, query)
    assert name == f"posts.{kind}"
    return b"".join(pieces)


def test_every_format_holds_what_is_on_the_screen() -> None:
    """The rows that the filter selects, unmerged ones too, in the order and with the columns that are shown."""
    with written() as lake:
        fill(lake)
        with looking(lake.store) as answers:
            lines = [json.loads(line) for line in file_of(answers, "jsonl").splitlines()]
            shown = answers.rows(DATASET, {name: QUERY[name] for name in ("columns", "filter", "where")})
            assert [[line[name] for name in QUERY["columns"]] for line in lines] == [
                row["cells"] for row in shown["rows"]
            ]
            assert list(lines[0]) == ["id", *QUERY["columns"]]
            assert [line["n"] for line in lines] == [0, 2, 1]
            assert [line["lang.label"] for line in lines] == [None, "en", None]
            table = list(csv.DictReader(io.StringIO(file_of(answers, "csv").decode(), newline="")))
            assert [row["text"] for row in table] == ["", "", ROWS[0]["text"]]
            assert [row["odd"] for row in table] == ["", "text", '{"x":[1,null]}']
            assert [row["ok"] for row in table] == ["", "", "true"]
            parquet = pq.read_table(io.BytesIO(file_of(answers, "parquet"))).to_pydict()
            assert parquet["n"] == [0, 2, 1]
            assert parquet["lang.label"] == [None, "en", None]
            notes = answers.command(DATASET, QUERY)["notes"]
            assert any("1 row that is not merged yet" in note for note in notes)


COLUMNS = st.sampled_from([None, "n", "odd", "text", "lang.label", "id", "_created_at", "nowhere"])


@given(sort=COLUMNS, order=st.sampled_from(["asc", "desc"]), annotated=st.booleans())
@settings(max_examples=8, deadline=None)
def test_a_file_is_the_pages_one_after_the_other(sort: str | None, order: str, *, annotated: bool) -> None:
    """Whatever is sorted by: the same rows in the same order as by turning pages."""
    query = {} if sort is None else {"sort": [sort], "order": [order]}
    query |= {"where": ["lang.label IS NULL OR n < 9"]} if annotated else {}
    answers = MANY.answers
    cursor: list[str] = []
    pages: list[str] = []
    while True:
        page = answers.rows(DATASET, {**query, "limit": ["13"], **({"cursor": cursor} if cursor else {})})
        pages += [row["id"] for row in page["rows"]]
        if page["next"] is None:
            break
        cursor = [page["next"]]
    lines = b"".join(answers.export(DATASET, query)[0]).splitlines()
    assert [json.loads(line)["id"] for line in lines] == pages


def test_windows_of_time_hold_every_row_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake of many windows, read as such, is the lake read at once; so it is in the other direction."""
    answers = MANY.answers
    whole = b"".join(answers.export(DATASET, {})[0]).splitlines()
    monkeypatch.setattr(live_export, "_WINDOW_BYTES", 1)
    for order in ("desc", "asc"):
        query = {"sort": ["_created_at"], "order": [order]}
        assert b"".join(answers.export(DATASET, query)[0]).splitlines() == whole[:: 1 if order == "desc" else -1]


def test_a_sample_is_exported_as_it_is_shown() -> None:
    """The same rows at random, in the same order."""
    answers = MANY.answers
    query = {"sample": ["5"], "seed": ["7"]}
    shown = [row["id"] for row in answers.rows(DATASET, query)["rows"]]
    lines = b"".join(answers.export(DATASET, query)[0]).splitlines()
    assert [json.loads(line)["id"] for line in lines] == shown
    assert len(shown) == 5


def test_an_integer_here_and_a_float_there_stay_what_they_are() -> None:
    """What is stored as different numbers in two batches is not made one of."""
    with written() as lake:
        for number, value in enumerate([1, 1.0, 2**60, "1"]):
            lake.write(f"b{number}", [{"v": value}], minutes=number)
            if number < 3:
                lake.merge(f"b{number}")
        with looking(lake.store) as answers:
            lines = b"".join(answers.export(DATASET, {"sort": ["_created_at"], "order": ["asc"]})[0]).splitlines()
            assert [json.dumps(json.loads(line)["v"]) for line in lines] == ["1", "1.0", str(2**60), '"1"']


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_command_makes_the_same_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied to a shell, it writes the same rows but for those that it says it leaves out, in another order."""
    monkeypatch.chdir(tmp_path)
    with written() as lake:
        fill(lake)
        with looking(lake.store) as answers:
            command = shlex.split(answers.command(DATASET, {**QUERY, "format": [kind]})["command"])
            assert command[0] == "datalake"
            assert run(command[1:]) == 0
            made = (tmp_path / f"posts.{kind}").read_bytes()
            lake.merge("b1")
            wanted = file_of(answers, kind, order="asc", where="lang.label IS NOT NULL OR n = 1")
    if kind == "parquet":
        assert pq.read_table(io.BytesIO(made)).equals(pq.read_table(io.BytesIO(wanted)))
    else:
        assert made == wanted


def test_only_so_many_export_at_once() -> None:
    """The others are told to come back; an export that was given up makes room."""
    with written() as lake:
        fill(lake)
        with looking(lake.store) as answers:
            running = [answers.export(DATASET, {})[0] for _ in range(AT_ONCE)]
            for pieces in running:
                next(pieces)
            with pytest.raises(BusyError):
                answers.export(DATASET, {})
            running[0].close()
            assert b"".join(answers.export(DATASET, {})[0])
            running[1].close()
            for _ in range(AT_ONCE + 1):
                answers.export(DATASET, {})[0].close()  # by somebody who left before the first byte
