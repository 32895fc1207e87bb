from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from datalake_service.tables.database.databases import Databases
from datalake_service.tables.database.engine import Engine, EngineLimits


@pytest.fixture
def databases() -> Iterator[Databases]:
    """Those of a view."""
    databases = Databases(EngineLimits())
    yield databases
    databases.close()


def is_open(engine: Engine) -> bool:
    """Whether it can be asked."""
    try:
        return engine.connection.execute("SELECT 1").fetchall() == [(1,)]
    except duckdb.ConnectionException:
        return False


def test_the_one_that_planned_reads_first(databases: Databases) -> None:
    """Everybody else gets another one; what nobody took is closed in the end."""
    with databases.planning() as planned:
        pass
    first, second = databases.take(), databases.take()
    assert first is planned
    assert second is not planned
    assert is_open(first)
    first.close()
    second.close()
    with databases.planning() as planned:
        pass
    databases.close()
    assert not is_open(planned)


def test_the_one_that_saw_sql_or_failed_is_closed(databases: Databases) -> None:
    """A user's SQL is put to databases that are locked; those read nothing any more."""
    with databases.planning() as locked:
        locked.lock()
    with pytest.raises(KeyError), databases.planning() as failed:
        raise KeyError
    with databases.planning() as planned, databases.planning() as also:
        pass
    assert [is_open(engine) for engine in (locked, failed, planned, also)] == [False, False, False, True]
    assert databases.take() is also
    also.close()


def test_another_file_under_a_name_is_read_anew(databases: Databases, tmp_path: Path) -> None:
    """What is called /proc/self/fd/7 while a view is planned is another file when it is read."""
    path, moment = tmp_path / "a.parquet", (1_700_000_000, 1_700_000_000)

    def write(number: int) -> None:
        path.unlink(missing_ok=True)
        with duckdb.connect() as connection:
            connection.execute(f"COPY (SELECT {number} AS n FROM range(5000)) TO '{path}' (FORMAT parquet)")
        os.utime(path, moment)

    write(1)
    with databases.planning() as engine:
        assert engine.connection.execute(f"SELECT sum(n) FROM '{path}'").fetchall() == [(5000,)]
    write(2)
    again = databases.take()
    again.lock([str(path)])
    assert again.connection.execute(f"SELECT sum(n) FROM '{path}'").fetchall() == [(10000,)]
    again.close()
