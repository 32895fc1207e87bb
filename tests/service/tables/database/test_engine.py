from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from datalake_service.errors import FilterError, StoreError
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import Engine, EngineLimits, in_our_words, quote_text
from datalake_service.tables.database.local import LocalFile
from tests.support.lake import put_rows


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A Parquet file."""
    path = f"{tmp_path}/it's.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS n) TO {quote_text(path)} (FORMAT parquet)")
    return path


def test_a_locked_engine_reads_what_it_may(table: str) -> None:
    """Nothing else: no file, no directory, no setting, no extension, no write, no other database."""
    engine = Engine(EngineLimits())
    engine.lock([table])
    assert engine.connection.execute(f"SELECT n FROM read_parquet({quote_text(table)})").fetchall() == [(1,)]
    for statement in (
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM glob('/*')",
        f"COPY (SELECT 1) TO {quote_text(table + '.copy')}",
        f"COPY (SELECT 1) TO {quote_text(str(Path(table).parent / 'x.csv'))}",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/hostname']",
        "INSTALL httpfs",
        "LOAD httpfs",
        "ATTACH '/tmp/other.db'",
        "SELECT * FROM 'https://example.org/x.parquet'",
    ):
        with pytest.raises(duckdb.Error):
            engine.connection.execute(statement).fetchall()
    engine.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_file_that_is_replaced_can_still_be_read(folder_store: FolderStore, moment: str) -> None:
    """A merge puts another version in its place before or after it was allowed; other open files stay out of reach."""
    meta = put_rows(folder_store, "d", "b", [{"n": 1}])
    file = LocalFile(folder_store, meta)
    other = LocalFile(folder_store, put_rows(folder_store, "d", "c", [{"n": 2}]))
    folder_store.delete(other.meta.key)
    engine = Engine(EngineLimits())
    if moment == "before":
        put_rows(folder_store, "d", "b", [{"n": 3}])
    engine.lock([file.path])
    if moment == "after":
        put_rows(folder_store, "d", "b", [{"n": 3}])
    assert engine.connection.execute(f"SELECT n FROM read_parquet('{file.path}')").fetchall() == [(1,)]
    with pytest.raises(duckdb.PermissionException):
        engine.connection.execute(f"SELECT n FROM read_parquet('{other.path}')")
    for one in (engine, file, other):
        one.close()


def test_a_long_query_shows_no_progress() -> None:
    """Standard output belongs to the rows; a bar would come after two seconds, into a pipe as well."""
    engine = Engine(EngineLimits())
    assert engine.connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]
    engine.close()


def test_names_of_the_program_are_no_tables() -> None:
    """DuckDB would look for variables of the caller."""
    a_variable = [1, 2, 3]
    engine = Engine(EngineLimits())
    with pytest.raises(duckdb.CatalogException):
        engine.connection.execute("SELECT * FROM a_variable")
    engine.close()
    assert a_variable


def test_closing_twice_and_interrupting_a_closed_engine_is_fine() -> None:
    """Whoever gives up last."""
    engine = Engine(EngineLimits())
    engine.close()
    engine.close()
    engine.interrupt()


def test_what_was_spilled_is_removed(tmp_path: Path) -> None:
    """The folder appears when it is needed, and goes with the engine."""
    engine = Engine(EngineLimits(memory_bytes=32 << 20, threads=1, spill_folder=tmp_path))
    assert not list(tmp_path.iterdir())
    engine.lock()
    engine.connection.execute("CREATE TEMP TABLE t AS SELECT range AS a, hash(range) AS b FROM range(5000000)")
    assert list(tmp_path.iterdir())
    engine.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sql", "hidden"),
    [
        ("SELECT CAST(s AS INTEGER) FROM (SELECT 'secret ''word''' AS s)", "secret"),
        ("SELECT CAST(s AS TINYINT) FROM (SELECT 4711 AS s)", "4711"),
        ("SELECT json_extract(s, '$.a') FROM (SELECT '{\"secret' AS s)", "secret"),
    ],
)
def test_values_are_not_part_of_an_error(sql: str, hidden: str) -> None:
    """They are contents of rows."""
    with duckdb.connect() as connection, pytest.raises(FilterError) as caught, in_our_words("read", user_sql=True):
        connection.execute(sql).fetchall()
    assert hidden not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_columns_have_their_real_names_in_errors() -> None:
    """Aliases mean nothing to anybody."""
    with (
        duckdb.connect() as connection,
        pytest.raises(FilterError, match=r"column lang\.label$"),
        in_our_words("read", names={"column_1": "lang.label"}, user_sql=True),
    ):
        connection.execute("SELECT CAST(column_1 AS INTEGER) FROM (SELECT 'x' AS column_1)").fetchall()


def test_without_sql_of_the_user_it_is_the_stores_fault() -> None:
    """Nothing the caller could change in a filter."""
    with duckdb.connect() as connection, pytest.raises(StoreError, match=r"^cannot read it: "), in_our_words("read it"):
        connection.execute("SELECT * FROM read_parquet('/nowhere')")


def test_too_little_memory_is_said() -> None:
    """And no filter is blamed for it."""
    with (
        duckdb.connect(config={"memory_limit": "20MB", "temp_directory": ""}) as connection,
        pytest.raises(StoreError, match="more memory or disk"),
        in_our_words("read it", user_sql=True),
    ):
        connection.execute("SELECT len(list(repeat(CAST(range AS VARCHAR), 100))) FROM range(1000000)").fetchall()
