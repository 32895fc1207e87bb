from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb
import pytest

from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import StoreError
from datalake_service.tables.database.footers import Footer, StoredColumn
from datalake_service.tables.database.sql import Reference, converted
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.queries.query import BatchQuery, LocalTable, _run, count_rows, fetch_arrow, fetch_rows

TEXT = StoredColumn(0, "s", ColumnType.STRING)
BASE = LocalTable("base.parquet", Footer(3, {"id": TEXT}, frozenset()))
ANNOTATIONS: Mapping[str, LocalTable] = {"lang": LocalTable("lang.parquet", Footer(3, {"id": TEXT}, frozenset()))}
ID, LANG_ID = Reference(None, "id"), Reference("lang", "id")


def query(*, sort: bool, fraction: float = 1.0) -> BatchQuery:
    """A query with a join."""
    return BatchQuery(
        base=BASE,
        annotations=ANNOTATIONS,
        outputs=[ID, LANG_ID],
        condition=Condition(),
        types={ID: ColumnType.STRING, LANG_ID: ColumnType.STRING},
        typed=False,
        fraction=fraction,
        sort=sort,
    )


def test_what_does_not_fit_in_memory_is_streamed() -> None:
    """If it shows before the first row; later it is an error, because rows would be repeated."""
    asked: list[str] = []

    def run(sql: str) -> Iterator[int]:
        asked.append(sql)
        if "POSITIONAL" not in sql:
            raise duckdb.OutOfMemoryException("Out of Memory Error: could not allocate")
        yield 1

    assert list(_run(run, query(sort=True), doing="read")) == [1]
    assert len(asked) == 2

    def run_some(sql: str) -> Iterator[int]:
        yield 1
        raise duckdb.OutOfMemoryException("Out of Memory Error: could not allocate")

    with pytest.raises(StoreError, match="more memory"):
        list(_run(run_some, query(sort=True), doing="read"))
    with pytest.raises(StoreError, match="more memory"):
        list(_run(run_some, query(sort=False), doing="read"))


@pytest.mark.parametrize("sort", [True, False])
def test_a_missing_file_is_the_stores_fault(*, sort: bool) -> None:
    """However it is read."""
    with duckdb.connect() as connection:
        for read in (fetch_rows, fetch_arrow):
            with pytest.raises(StoreError, match=r"^cannot read it: "):
                list(read(connection, query(sort=sort), size=10, doing="read it"))
        with pytest.raises(StoreError, match=r"^cannot read it: "):
            count_rows(connection, query(sort=sort), doing="read it")


def test_rows_out_of_step_are_an_error_and_no_wrong_join(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The streaming join lays rows side by side; if one side lacked a row, every later pair would be wrong."""
    folder = tmp_path_factory.mktemp("tables")
    with duckdb.connect() as connection:
        for name in ("base", "lang"):
            connection.execute(f"COPY (SELECT CAST(range AS VARCHAR) AS id FROM range(9)) TO '{folder}/{name}.parquet'")
        sql = query(sort=False).sql().replace("'base.parquet'", f"'{folder}/base.parquet'")
        sql = sql.replace("'lang.parquet'", f"'{folder}/lang.parquet'")
        assert connection.execute(sql).fetchall() == [(str(number), str(number)) for number in range(9)]
        broken = sql.replace("AS row_id, row_number FROM", "AS row_id, row_number + 1 AS row_number FROM", 1)
        assert broken != sql
        with pytest.raises(duckdb.InvalidInputException, match="out of step"):
            connection.execute(broken).fetchall()


@pytest.mark.parametrize(
    ("value", "stored", "text"),
    [
        ("true", ColumnType.BOOL, "true"),
        ("12", ColumnType.INT64, "12"),
        ("1e20", ColumnType.DOUBLE, "1e+20"),
        ("0.1 + 0.2::DOUBLE", ColumnType.DOUBLE, "0.30000000000000004"),
        ("'nan'::DOUBLE", ColumnType.DOUBLE, "NaN"),
        ("'inf'::DOUBLE", ColumnType.DOUBLE, "Infinity"),
        ("'-inf'::DOUBLE", ColumnType.DOUBLE, "-Infinity"),
        ("NULL::DOUBLE", ColumnType.DOUBLE, None),
        ("'a\"b'", ColumnType.STRING, '"a\\"b"'),
        ("NULL::VARCHAR", ColumnType.STRING, None),
        ("'{\"a\":1}'", ColumnType.JSON, '{"a":1}'),
        ("'1.0'", ColumnType.NUMBER, "1.0"),
        ("'whatever'", ColumnType.NULL, None),
    ],
)
def test_values_as_json_text(value: str, stored: ColumnType, text: str | None) -> None:
    """What is mixed over batches compares as the text that json would write."""
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {converted('v', stored, ColumnType.JSON)} FROM (SELECT {value} AS v)")
        assert found.fetchone() == (text,)
