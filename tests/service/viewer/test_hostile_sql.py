from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.errors import DatalakeError, FilterError
from datalake_service.pipeline.live.asking import QuestionTooLongError
from datalake_service.tables.database.engine import OutOfMemoryError
from datalake_service.viewer.answering import Answers
from tests.support.live import DATASET, looking, written

SECRET = "do-not-tell-anybody"

READS = [
    "(SELECT count(*) FROM read_text('{path}')) > 0",
    "exists (FROM '{path}')",
    "n IN (SELECT 1)",
    "n = (FROM query('SELECT 1'))",
    "length(content) > 0 FROM read_text('{path}')",
    "read_text('{path}') IS NOT NULL",
    "read_blob('{path}') IS NOT NULL",
    "read_csv('{path}') IS NOT NULL",
    "glob('{path}') IS NOT NULL",
    "len(glob('/etc/*')) > 0",
    "getenv('HOME') <> ''",
    "getenv('DATALAKE_TEST_SECRET') = 'do-not-tell-anybody'",
    "TRUE; COPY (SELECT 1) TO '{path}.out'",
    "TRUE; ATTACH '{path}.db'",
    "TRUE; INSTALL httpfs",
    "TRUE; LOAD httpfs",
    "TRUE; PRAGMA database_list",
    "TRUE; SET enable_external_access = true",
    "TRUE) UNION ALL (SELECT 1",
    "TRUE) --",
    "*",
    "COLUMNS('.*') IS NULL",
    "?",
    "$1 = 1",
    "#1 = 1",
    "row_number() OVER () = 1",
    "CREATE TABLE x (y INT)",
    "sum(n) > 0",
    "unnest([1, 2]) = 1",
    "nextval('s') = 1",
    "'{path}'::REGCLASS IS NULL",
    "query_table('file')",
    "json_execute_serialized_sql('{{}}')",
    "json_execute_serialized_sql(json_serialize_sql('SELECT 1')) IS NULL",
    "error('boom')",
    "",
    "   ",
    "((((((",
    "\x00",
    "'a' || chr(0) = n",
    "\ud800",
    "n = 1 /* never ends",
    "(" * 5000 + "1" + ")" * 5000,
    " AND ".join(["n = 1"] * 3000),
]
"""Whatever these are, they show nothing, write nothing and end in a selection or one line."""


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    """A dataset of fifty numbers."""
    with written() as lake:
        lake.write("b1", [{"n": number} for number in range(50)])
        lake.merge("b1")
        with looking(lake.store) as found:
            yield found


@pytest.mark.parametrize("sql", READS, ids=range(len(READS)))
def test_nothing_but_the_row_can_be_reached(
    answers: Answers, sql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pasted expression is about one row: no file, no setting, no environment, nothing is written."""
    monkeypatch.setenv("DATALAKE_TEST_SECRET", SECRET)
    secret = tmp_path / "secret.csv"
    secret.write_text(f"content\n{SECRET}\n")
    before = sorted(tmp_path.iterdir())
    try:
        told = answers.rows(DATASET, {"where": [sql.replace("{path}", str(secret))]})
        if "getenv" in sql or "glob" in sql or "read_" in sql:
            assert told["rows"] == []
    except DatalakeError as error:
        message = str(error)
    else:
        message = ""
    assert SECRET not in message
    assert "Traceback" not in message
    # The next question is answered as if nothing had happened.
    assert answers.count(DATASET, {"where": ["n = 2"]})["rows"] == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("name", "value"), [("enable_external_access", "false"), ("lock_configuration", "true")])
def test_the_database_of_a_question_is_locked(answers: Answers, name: str, value: str) -> None:
    """What an expression can see of its own database: that it is locked."""
    where = f"CAST(current_setting('{name}') AS VARCHAR) = '{value}'"
    assert answers.count(DATASET, {"where": [where]})["rows"] == 50


def test_an_expression_that_does_not_end_is_ended() -> None:
    """After its time a question ends with a word of advice, whatever DuckDB is doing; the next one is answered."""
    with written() as lake:
        lake.write("b1", [{"n": 1}])
        with looking(lake.store, seconds=3.0) as patient:
            endless = (
                "len(list_filter(range(400000), lambda x: len(list_filter(range(4000 + n), lambda y: x = y)) > 9))"
            )
            with pytest.raises(QuestionTooLongError, match="took longer than 3 s"):
                patient.count(DATASET, {"where": [f"{endless} = 0"]})
            assert patient.count(DATASET, {"filter": ['{"type": "equals", "field": "n", "value": 1}']})["rows"] == 1


@pytest.mark.parametrize("sql", ["length(repeat('x', 1000000000 + n)) > 0", "length(repeat('x', 2000000000)) > 0"])
def test_an_expression_that_needs_all_memory_gets_none(answers: Answers, sql: str) -> None:
    """What a question may use is limited, for one that looks at rows and for one that is worked out before."""
    with pytest.raises((OutOfMemoryError, FilterError)):
        answers.count(DATASET, {"where": [sql]})
    assert answers.count(DATASET, {"where": ["n = 2"]})["rows"] == 1
