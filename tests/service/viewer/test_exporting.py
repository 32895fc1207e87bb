from __future__ import annotations

import csv
import io
import json
import shlex
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.cli.main import run
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
    "where": ["lang.label IS NOT NULL OR n = 1"],
}


def fill(lake: Written) -> None:
    """Four rows, two of them annotated; one more waits for a merge."""
    lake.write("b1", ROWS)
    lake.merge("b1")
    lake.annotate("lang", {("b1", "000000-00000-1"): {"label": "en"}, ("b1", "000000-00000-3"): {"label": "de"}})
    lake.merge_annotations("lang")
    lake.write("b1", [{"n": 0}], minutes=1)


def file_of(answers: Any, kind: str) -> bytes:
    """The whole file."""
    pieces, _, name = answers.export(DATASET, {**QUERY, "format": [kind]})
    assert name == f"posts.{kind}"
    return b"".join(pieces)


def test_every_format_holds_what_is_on_the_screen() -> None:
    """The rows that the filter selects with the columns that are shown; what is not merged is announced."""
    with written() as lake:
        fill(lake)
        with looking(lake.store) as answers:
            lines = [json.loads(line) for line in file_of(answers, "jsonl").splitlines()]
            assert [line["n"] for line in lines] == [1, 2]
            assert [line["lang.label"] for line in lines] == [None, "en"]
            table = list(csv.DictReader(io.StringIO(file_of(answers, "csv").decode(), newline="")))
            assert [row["text"] for row in table] == [ROWS[0]["text"], ""]
            assert [row["odd"] for row in table] == ['{"x":[1,null]}', "text"]
            assert [row["ok"] for row in table] == ["true", ""]
            parquet = pq.read_table(io.BytesIO(file_of(answers, "parquet"))).to_pydict()
            assert parquet["n"] == [1, 2]
            assert parquet["lang.label"] == [None, "en"]
            assert "1 rows are not merged yet" in answers.command(DATASET, QUERY)["notes"][0]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_the_command_makes_the_same_file(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied to a shell, it writes the very same bytes."""
    monkeypatch.chdir(tmp_path)
    with written() as lake:
        fill(lake)
        with looking(lake.store) as answers:
            command = shlex.split(answers.command(DATASET, {**QUERY, "format": [kind]})["command"])
            assert command[0] == "datalake"
            assert run(command[1:]) == 0
            made = (tmp_path / f"posts.{kind}").read_bytes()
            wanted = file_of(answers, kind)
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
