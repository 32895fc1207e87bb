from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.errors import UsageError
from datalake_service.pipeline.export_jsonl import write_jsonl, write_lines
from tests.support.json_values import ROWS, canonical

BLOCKS: list[list[dict[str, Any]]] = [
    [{"id": "1", "text": "é\n"}, {"id": "2", "n": 2**70}],
    [],
    [{"id": "3", "x": float("inf")}],
]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_rows_are_written_one_a_line(tmp_path: Path, name: str) -> None:
    """Whatever JSON can say, and nothing beside the file in the end."""
    told: list[int] = []
    assert write_jsonl(tmp_path / name, BLOCKS, progress=told.append) == 3
    data = (tmp_path / name).read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).decode().splitlines()
    assert [json.loads(line) for line in lines] == [row for block in BLOCKS for row in block]
    assert told == [2, 1]
    assert [path.name for path in tmp_path.iterdir()] == [name]


@given(st.lists(ROWS, max_size=5))
def test_what_goes_in_comes_out(rows: list[dict[str, Any]]) -> None:
    """For any row."""
    stream = io.BytesIO()
    assert write_lines(stream, [rows]) == len(rows)
    assert [canonical(json.loads(line)) for line in stream.getvalue().splitlines()] == [
        canonical(json.loads(json.dumps(row))) for row in rows
    ]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """A reader of the file never sees half of it."""
    path = tmp_path / "out.jsonl"
    path.write_text("old", encoding="utf-8")

    def broken() -> Iterator[list[dict[str, Any]]]:
        yield [{"id": "1"}]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """No such folder, here."""
    with pytest.raises(UsageError, match=r"cannot write .*none/out\.jsonl: No such file or directory"):
        write_jsonl(tmp_path / "none" / "out.jsonl", BLOCKS)
