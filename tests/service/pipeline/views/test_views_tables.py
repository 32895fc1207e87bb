from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datalake_service.config.filters import BooleanFilter
from datalake_service.errors import (
    FilterError,
    UsageError,
)
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import EngineLimits
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore
from tests.support.views import TEXTS, dicts, sql, view


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """Ten rows in two datasets; one of them has annotations."""
    store = FolderStore(tmp_path_factory.mktemp("kinds") / "lake", durable=False)
    rows: list[dict[str, Any]] = [
        {"text": f"text {n}", "n": n, "j": {"k": n, "l": [n]}, "flag": n % 2 == 0} for n in range(10)
    ]
    rows[0]["t"] = "2020-05-01T00:00:00"
    for dataset in ("plain", "joined"):
        put_rows(store, dataset, "b", rows)
    put_annotations(store, "joined", "lang", "b", {str(number): {"ok": True} for number in range(9, -1, -1)})
    return store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("n BETWEEN 3 AND 4", [3, 4]),
        ("n IN (1, 9, n + 1)", [1, 9]),
        ("CASE n WHEN 2 THEN true ELSE n > 8 END", [2, 9]),
        ("text LIKE '%7' OR text ~ '.*8$'", [7, 8]),
        ("text[6:] = '5'", [5]),
        ("POSITION('6' IN text) > 0", [6]),
        ("list_contains([x * 2 for x in [n]], 8)", [4]),
        ("list_filter([1, 2], lambda x: x = n)[1] = 1", [1]),
        ("j->>'k' = '3' AND CAST(j->'$.l[0]' AS INTEGER) = 3", [3]),
        ("CAST(j->>'k' AS BIGINT) > 8", [9]),
        ("coalesce(nothing, n) = 2 AND nothing IS NOT DISTINCT FROM NULL", [2]),
        ("TRY_CAST(text AS INTEGER) IS NULL AND n % 9 = 0", [0, 9]),
        ("n::VARCHAR || text = '4text 4'", [4]),
        ("EXTRACT(year FROM CAST(t AS TIMESTAMP)) = 2020 AND CAST(t AS TIMESTAMP) < current_date", [0]),
        ("text COLLATE NOCASE = 'TEXT 1'", [1]),
        ("{'a': n}.a = 6 AND struct_pack(b := n).b = 6", [6]),
        ("id = '3' AND _batch = 'b' AND _created_at > '2026'", [3]),
        ('"n" = 1 -- AND n = 2', [1]),
        ("/* n = 2 AND */ N = 1", [1]),
        ("NOT flag", [1, 3, 5, 7, 9]),
        ("n", list(range(1, 10))),
    ],
)
@pytest.mark.parametrize(
    "limits", [EngineLimits(), EngineLimits(sort_bytes=0), EngineLimits(narrow_bytes=0, large_value=0)]
)
def test_sql_of_many_kinds(kinds: FolderStore, limits: EngineLimits, text: str, found: list[int]) -> None:
    """What DuckDB understands works, with and without a join."""
    with view(kinds, "plain", filter=sql(text), limits=limits) as plain:
        assert [row["n"] for row in plain] == found
    with view(kinds, "joined", filter=sql(text), annotator_filters={"lang": sql("ok")}, limits=limits) as joined:
        assert [row["n"] for row in joined] == found


MIXED: Sequence[dict[str, Any]] = [
    {"i": 1, "f": 1.5, "n": 1, "s": "x", "b": True, "big": 2**63, "j": {"k": [1]}},
    {"i": 2**60, "f": 2.0, "n": 0.5, "s": "é", "b": False, "big": -1, "j": None},
]


def test_an_arrow_table_has_the_types_of_all_batches(folder_store: FolderStore) -> None:
    """int64 and double become double where that is exact; every other mix is JSON text."""
    put_rows(folder_store, "posts", "b1", MIXED)
    put_rows(folder_store, "posts", "b2", [{"i": "text", "f": 3, "n": 7, "s": float("nan"), "b": None, "extra": 1}])
    put_annotations(folder_store, "posts", "lang", "b2", {"0": {"ok": True}})
    table = view(folder_store).to_arrow()
    types = {field.name: field.type for field in table.schema}
    assert types == {
        "id": pa.string(), "i": pa.string(), "f": pa.float64(), "n": pa.float64(), "s": pa.string(), "b": pa.bool_(),
        "big": pa.string(), "j": pa.string(), "_batch": pa.string(), "_created_at": pa.string(), "extra": pa.int64(),
        "lang.ok": pa.bool_(),
    }  # fmt: skip
    assert table.column("i").to_pylist() == ["1", str(2**60), '"text"']
    assert table.column("f").to_pylist() == [1.5, 2.0, 3.0]
    assert table.column("n").to_pylist() == [1.0, 0.5, 7.0]
    assert table.column("s").to_pylist() == ['"x"', '"é"', "NaN"]
    assert table.column("big").to_pylist() == [str(2**63), "-1", None]
    assert table.column("j").to_pylist() == ['{"k":[1]}', None, None]
    assert table.column("_batch").to_pylist() == ["b1", "b1", "b2"]
    assert table.schema.field("i").metadata[b"datalake.type"] == b"json"


def test_tables_of_chosen_columns_hold_those_only(folder_store: FolderStore) -> None:
    """And ``id``."""
    put_rows(folder_store, "posts", "b1", MIXED)
    assert view(folder_store, base_columns=["s", "_batch"]).to_arrow().column_names == ["id", "s", "_batch"]


def test_data_frames_keep_integers(folder_store: FolderStore) -> None:
    """A null beside them makes no floats of them."""
    put_rows(folder_store, "posts", "b", [{"i": 2**60 + 1, "b": True}, {"s": "x"}])
    frame = view(folder_store).to_pandas()
    assert frame["i"].tolist()[0] == 2**60 + 1
    assert frame["b"].tolist()[0] is True
    polars = view(folder_store).to_polars()
    assert polars["i"].to_list() == [2**60 + 1, None]
    assert polars["s"].to_list() == [None, "x"]


def test_a_parquet_file_appears_when_it_is_complete(folder_store: FolderStore, tmp_path: Path) -> None:
    """And an old one stays if the new one cannot be made."""
    put_rows(folder_store, "posts", "b", ({"n": number, "": str(number)} for number in range(20_000)))
    target = tmp_path / "out.parquet"
    assert view(folder_store, filter=sql("n >= 100")).to_parquet(target) == 19_900
    assert pq.read_table(target).column("n").to_pylist() == list(range(100, 20_000))
    with pytest.raises(FilterError):
        view(folder_store, filter=sql("CAST(if(n = 19000, 'x', '1') AS INTEGER) = 1")).to_parquet(str(target))
    assert pq.read_metadata(target).num_rows == 19_900
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.parquet"]
    with pytest.raises(UsageError, match="cannot write"):
        view(folder_store).to_parquet(tmp_path / "nowhere" / "out.parquet")


WEIRD = [
    "",
    'a"b',
    "select",
    "Text",
    "text",
    "a.b",
    "new\nline",
    "é",
    "\ud800",
    "nul\0",
    "id ",
    "'",
    "row_number",
    "o0",
]


@pytest.mark.parametrize(
    "limits", [EngineLimits(), EngineLimits(sort_bytes=0), EngineLimits(narrow_bytes=0, large_value=0)]
)
def test_any_column_name_goes_through(folder_store: FolderStore, limits: EngineLimits, tmp_path: Path) -> None:
    """In the base, from an annotator, in rows and tables."""
    row = {name: number for number, name in enumerate(WEIRD)}
    put_rows(folder_store, "posts", "b", [{"id": "x", **row}])
    put_annotations(folder_store, "posts", "my-ann", "b", {"x": row})
    expected = {"id": "x", **row, **{f"my-ann.{name}": value for name, value in row.items()}}
    rows = view(folder_store, limits=limits)
    assert dicts(rows) == [expected]
    assert dicts(view(folder_store, base_columns=WEIRD, annotator_columns={"my-ann": WEIRD}, limits=limits)) == [
        expected
    ]
    assert len(rows.to_arrow().schema) == len(expected) + 2
    assert rows.to_parquet(tmp_path / "x.parquet") == 1
    for name, value in row.items():
        if name and name.isprintable():
            quoted = '"' + name.replace('"', '""') + '"'
            chosen = view(
                folder_store, filter=sql(f'{quoted} = {value} AND "my-ann".{quoted} = {value}'), limits=limits
            )
            assert chosen.count() == 1, name


def test_a_view_of_a_bucket(s3_store: ObjectStore) -> None:
    """Rows, joins, tables, chosen columns: the same as on a folder."""
    put_rows(s3_store, "posts", "b1", TEXTS)
    put_rows(s3_store, "posts", "b2", TEXTS)
    put_annotations(s3_store, "posts", "lang", "b2", {"3": {"ok": True}})
    chosen = view(s3_store, base_columns=["text"], filter=BooleanFilter(field="lang.ok", value=True))
    assert dicts(chosen) == [{"id": "3", "text": "text 3", "lang.ok": True}]
    assert view(s3_store).count() == 20
    assert view(s3_store).to_arrow().num_rows == 20


def test_a_lean_view_stays_lean(folder_store: FolderStore) -> None:
    """Of a batch with long texts, two small columns are fetched and nothing else."""
    rows = [{"text": os.urandom(600).hex(), "n": number} for number in range(4_000)]
    meta = put_rows(folder_store, "posts", "b", rows, group_rows=1_000)
    put_annotations(folder_store, "posts", "lang", "b", {str(number): {"ok": number == 7} for number in range(4_000)})
    store = RemoteStore(folder_store)
    chosen = view(store, base_columns=["n"], annotator_columns={}, filter=BooleanFilter(field="lang.ok", value=True))
    assert dicts(chosen) == [{"id": "7", "n": 7}]
    assert sum(size for key, size in store.read if key == meta.key) < meta.size / 5
