"""Odd answers from the call to an export: columns that differ, huge values, NaN, half characters, reserved names."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from datalake_interfaces import DataItem
from datalake_service.chunks import annotation_encoder
from datalake_service.pipeline.annotation.view import AnnotationView
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.reports.failed_annotations import list_failed
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.storage.folder import FolderStore
from tests.support.lake import put_rows
from tests.support.views import dicts, view


def annotated(store: FolderStore, rows: int, rule: Callable[[DataItem], object]) -> list[dict[str, Any]]:
    """What an export shows after rows of a dataset were annotated and merged; and again after merging twice."""
    put_rows(store, "posts", "b1", [{"id": f"{number}"} for number in range(rows)])
    halves: list[dict[str, Any]] = [{"batches": ["b1"], "fraction": fraction} for fraction in (0.5, 1.0)]

    async def answer(item: DataItem) -> object:
        return rule(item)

    for half in halves:
        made = AnnotationView(store, ViewRequest(dataset="posts", **half), "lang")
        asyncio.run(made.annotate(answer))
        merge_annotator(store, "posts", "lang")
    return sorted(dicts(view(store)), key=lambda row: int(row["id"]))


def test_columns_that_differ_from_row_to_row(folder_store: FolderStore) -> None:
    """Each row has its own, the others null; types that differ are kept apart."""
    values = [1, 1.5, "x", None, [1], {"a": 1}, True, 2**70]
    shown = annotated(folder_store, 8, lambda item: {f"c{item.id}": 1, "v": values[int(item.id)]})
    for number, row in enumerate(shown):
        assert row["lang.v"] == values[number]
        assert type(row["lang.v"]) is type(values[number])
        assert [name for name in range(8) if row[f"lang.c{name}"] is not None] == [number]


def test_hundreds_of_columns(folder_store: FolderStore) -> None:
    """An annotator that names a column after each row."""
    shown = annotated(folder_store, 300, lambda item: {f"column {item.id}": int(item.id)})
    assert all(row[f"lang.column {row['id']}"] == int(row["id"]) for row in shown)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none(folder_store: FolderStore, value: float) -> None:
    """They stay what they are, alone and inside, as in rows of one's own: not null."""
    shown = annotated(folder_store, 3, lambda item: {"n": value, "inside": [value, {"a": value}], "some": 1.0})
    for row in shown:
        assert repr(row["lang.n"]) == repr(value)
        assert repr(row["lang.inside"]) == repr([value, {"a": value}])


def test_half_characters(folder_store: FolderStore) -> None:
    """As values and as names; in the text of an error they are written out."""
    text = "half \ud800 and \x00 and 🙂"

    def rule(item: DataItem) -> object:
        if item.id == "2":
            raise ValueError(text)
        return {text: text}

    one, two, failed = annotated(folder_store, 3, rule)
    assert one[f"lang.{text}"] == two[f"lang.{text}"] == text
    assert failed[f"lang.{text}"] is None
    (told,) = list_failed(folder_store, "posts")
    assert told.row["_error"] == "ValueError: half \\ud800 and \x00 and 🙂"


@pytest.mark.parametrize("name", ["id", "_batch", "_version", "_cost", "_anything"])
def test_reserved_names(folder_store: FolderStore, name: str) -> None:
    """The row fails and says so; it is not stored under another name."""
    shown = annotated(folder_store, 2, lambda item: {name: 1, "n": 1})
    assert all(row.get("lang.n") is None for row in shown)
    (message, _) = [failed.row["_error"] for failed in list_failed(folder_store, "posts")]
    assert message == f"column {name!r} is reserved: no column may be 'id' or start with '_'"


def test_empty_names_and_names_that_look_like_others(folder_store: FolderStore) -> None:
    """Any text is a name."""
    names = ["", "a.b", "A", "a", "lang.n", 'say "x"', "select"]
    for row in annotated(folder_store, 2, lambda item: dict.fromkeys(names, 7)):
        assert [row[f"lang.{name}"] for name in names] == [7] * len(names)


def test_a_value_of_a_hundred_megabytes(folder_store: FolderStore) -> None:
    """It fails, at once and for a reason that is told, rather than be paid for and refused by the merge."""
    text = "x" * (100 << 20)
    shown = annotated(folder_store, 2, lambda item: {"n": 1, **({"text": text} if item.id == "1" else {})})
    assert [row["lang.n"] for row in shown] == [1, None]
    (failed,) = list_failed(folder_store, "posts")
    assert failed.kind == "answer"
    assert failed.row["_error"].startswith("the annotation has 100")
    assert "keep large values elsewhere" in failed.row["_error"]


def test_the_largest_that_is_stored_is_merged(folder_store: FolderStore) -> None:
    """To the last byte: what a merge adds to the line does not make it too long."""
    assert annotation_encoder.MAX_ANNOTATION_BYTES > 60 << 20
    text = "x" * (annotation_encoder.MAX_ANNOTATION_BYTES - 1_000)
    (row,) = annotated(folder_store, 1, lambda item: {"text": text})
    assert row["lang.text"] == text
