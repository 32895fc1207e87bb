"""Small columns choose the rows, then pages of texts are read: the same rows, few bytes, one version."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalake_service.errors import FilterError
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database import local
from datalake_service.tables.database.engine import EngineLimits
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore
from tests.support.views import sql, view

ROWS, GROUP, LETTERS = 4_000, 1_000, 4_000
KEY = "posts/b/merged.parquet"
NARROW = EngineLimits(narrow_bytes=1 << 20)
SPAN = range(1_700, 1_740)
SCATTERED = frozenset(random.Random(2).sample(range(ROWS), ROWS // 100))


def text(number: int) -> str:
    """A text that does not shrink."""
    return random.Random(number).randbytes(LETTERS // 2).hex()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """Four row groups of texts; annotations that pick one row in a hundred, together and scattered."""
    store = FolderStore(Path(tmp_path_factory.mktemp("lake")), durable=False)
    rows = ({"n": n, "text": text(n), "other": text(-n - 1)} for n in range(ROWS))
    put_rows(store, "posts", "b", rows, group_rows=GROUP)
    picked = {str(n): {"near": n in SPAN, "far": n in SCATTERED} for n in range(ROWS)}
    put_annotations(store, "posts", "pick", "b", picked)
    return store


def numbers(rows: DatasetView) -> list[int]:
    """What a view shows, after a look at the texts."""
    found = []
    for row in rows:
        assert row["text"] == text(row["n"])
        found.append(row["n"])
    return found


def asked(store: Any, limits: EngineLimits = NARROW, **request: Any) -> list[int]:
    """The same of the base alone, with a filter."""
    columns: dict[str, list[str]] = {}
    with view(store, limits=limits, base_columns=["n", "text"], annotator_columns=columns, **request) as rows:
        return numbers(rows)


def share(lake: FolderStore, **request: Any) -> tuple[list[int], float]:
    """What is shown, and how much of the texts was read across a network."""
    store = RemoteStore(lake)
    found = asked(store, **request)
    return found, sum(size for key, size in store.read if key == KEY) / (ROWS * LETTERS / 2)


def test_of_one_percent_that_lie_together_about_one_percent_is_read(lake: FolderStore) -> None:
    """Ids, numbers and page indexes besides; nothing of the other text column."""
    found, read = share(lake, filter=sql("pick.near"))
    assert found == list(SPAN)
    assert read < 0.05


def test_of_one_percent_that_are_scattered_little_is_read(lake: FolderStore) -> None:
    """A page and what lies nearer than a request is worth."""
    found, read = share(lake, filter=sql("pick.far"))
    assert found == sorted(SCATTERED)
    assert read < 0.35


def test_small_columns_of_the_base_decide_as_well(lake: FolderStore) -> None:
    """Before the texts, however the filter is written."""
    found, read = share(lake, filter=sql("length(text) = 4000 AND n BETWEEN 100 AND 120"))
    assert found == list(range(100, 121))
    assert read < 0.08


def test_a_sample_reads_its_own_texts(lake: FolderStore) -> None:
    """The same rows as without narrowing."""
    found, read = share(lake, fraction=0.01)
    assert found == asked(lake, EngineLimits(), fraction=0.01)
    assert 20 < len(found) < 80
    assert read < 0.5


def test_when_nothing_is_left_no_text_is_read(lake: FolderStore) -> None:
    """Only what decided."""
    found, read = share(lake, filter=sql("pick.near AND pick.far AND n < 0"))
    assert found == []
    assert read < 0.05


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("pick.near", lambda n: n in SPAN),
        ("pick.near AND starts_with(text, 'a')", lambda n: n in SPAN and text(n)[0] == "a"),
        ("pick.near OR n % 500 = 3", lambda n: n in SPAN or n % 500 == 3),
        ("text > other AND pick.far", lambda n: n in SCATTERED and text(n) > text(-n - 1)),
        ("n >= 0", lambda n: True),
    ],
)
@pytest.mark.parametrize("sort_bytes", [0, 64 << 20])
def test_the_same_rows_come_from_a_folder(
    lake: FolderStore, condition: str, expected: Callable[[int], bool], sort_bytes: int
) -> None:
    """In order, with annotations beside them, streamed or sorted."""
    limits = EngineLimits(narrow_bytes=1 << 20, sort_bytes=sort_bytes)
    with view(lake, limits=limits, filter=sql(condition)) as rows:
        found = [(row["n"], row["pick.near"], row["other"]) for row in rows]
    assert found == [(n, n in SPAN, text(-n - 1)) for n in range(ROWS) if expected(n)]


def test_of_a_file_that_is_here_only_the_pages_are_copied(lake: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scattered rows cost their pages, not what lies between them; a dense choice is read from the file itself."""
    copied: list[int] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def pread(descriptor: int, size: int, start: int) -> bytes:
            copied.append(size)
            return os.pread(descriptor, size, start)

    monkeypatch.setattr(local, "os", Counted())
    assert asked(lake, filter=sql("pick.far")) == sorted(SCATTERED)
    assert sum(copied) < 0.35 * ROWS * LETTERS / 2
    copied.clear()
    assert len(asked(lake, filter=sql("pick.far IS NOT NULL AND n % 10 > 0"))) == 3_600
    assert sum(copied) < 0.02 * ROWS * LETTERS / 2


def test_a_footer_may_be_longer_than_what_is_read_at_first(lake: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder and across a network."""
    monkeypatch.setattr(local, "TAIL_BYTES", 64)
    for store in (lake, RemoteStore(lake)):
        assert asked(store, filter=sql("pick.near")) == list(SPAN)


@pytest.mark.parametrize("at", range(8))
def test_an_object_that_is_replaced_meanwhile_is_read_in_one_version(tmp_path: Path, at: int) -> None:
    """Before, between or after the two steps: the old rows or the new ones, never some of each."""
    store = FolderStore(tmp_path, durable=False)

    def put(version: int) -> None:
        rows = ({"n": n, "v": version, "text": text(n)} for n in range(400))
        put_rows(store, "posts", "b", rows, group_rows=100)

    put(1)
    remote = RemoteStore(store)
    opened = 0

    def accident(key: str) -> None:
        nonlocal opened
        opened += key == KEY
        if opened == at + 1:
            remote.before_open = lambda _: None
            put(2)

    remote.before_open = accident
    limits = EngineLimits(narrow_bytes=1, large_value=16)
    with view(remote, limits=limits, filter=sql("n BETWEEN 150 AND 160")) as rows:
        found = [(row["n"], row["v"]) for row in rows]
    assert [n for n, _ in found] == list(range(150, 161))
    assert len({version for _, version in found}) == 1


def test_sql_that_fails_on_a_row_says_so(lake: FolderStore) -> None:
    """In the first step as in the second; the row's content is not in the message."""
    for condition in ("n < 10 AND CAST(n || 'x' AS INTEGER) > 1", "n < 10 AND CAST(text AS INTEGER) > 1"):
        with pytest.raises(FilterError) as caught:
            asked(lake, filter=sql(condition))
        assert text(3)[:20] not in str(caught.value)


def test_users_sql_meets_a_locked_database(lake: FolderStore, tmp_path: Path) -> None:
    """The first step asks what a user wrote: it reaches no other file."""
    other = tmp_path / "secret.txt"
    other.write_text("secret")
    with pytest.raises(FilterError):
        asked(lake, filter=sql(f"n < 10 AND (SELECT content FROM read_text('{other}')) = 'secret'"))
