"""Pages that are left out: every reader takes the file for a whole one, whose other values are null."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.errors import StoreError
from datalake_service.tables.queries.page_index import blank, cut, read_pages, row_groups
from datalake_service.tables.queries.thrift import Number, ThriftError, read_struct, write_struct

ROWS = 700


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, pa.Table]:
    """Three row groups of many pages: texts, a dictionary, numbers and nulls."""
    source = random.Random(1)
    table = pa.table(
        {
            "id": [f"{number:05d}" for number in range(ROWS)],
            "text": [source.randbytes(source.randrange(300)).hex() for _ in range(ROWS)],
            "word": pa.array([source.choice(["a", "bb", None]) for _ in range(ROWS)]),
            "n": pa.array([source.randrange(2**60) for _ in range(ROWS)]),
            "null": pa.nulls(ROWS, pa.string()),
            "large": [("x" if number % 9 else source.randbytes(40_000).hex()) for number in range(ROWS)],
        }
    )
    path = Path(tmp_path_factory.mktemp("pages")) / "whole.parquet"
    with pq.ParquetWriter(
        path,
        table.schema,
        compression="zstd",
        use_dictionary=["word"],
        data_page_size=2_000,
        write_batch_size=5,
        write_page_index=True,
    ) as writer:
        writer.write_table(table, row_group_size=250)
    return path.read_bytes(), table


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_pages_that_are_not_wanted_read_as_nulls(
    written: tuple[bytes, pa.Table], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """DuckDB and Arrow agree: wanted rows are what they were, the others as well or null, in the same order."""
    whole, table = written
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, ROWS - 1), max_size=40))), np.int64)
    sparse = bytearray(b"\xa5" * len(whole))  # holes hold garbage
    sparse[:4] = whole[:4]
    length = int.from_bytes(whole[-8:-4], "little")
    sparse[-8 - length :] = whole[-8 - length :]
    first = read = 0
    for group in row_groups(whole, key="k"):
        here = wanted[(wanted >= first) & (wanted < first + group.rows)] - first
        for number, chunk in enumerate(group.columns):
            if number == 0:
                sparse[slice(*chunk.whole)] = whole[slice(*chunk.whole)]
                continue
            assert chunk.index is not None
            pages = read_pages(whole[slice(*chunk.index)], group, key="k")
            made = cut(chunk, pages, pages.of_rows(here).tolist())
            for start, end in made.ranges:
                sparse[start:end] = whole[start:end]
            for start, head in made.blanks:
                sparse[start : start + len(head)] = head
            read += made.size
        first += group.rows
    path = tmp_path_factory.mktemp("sparse") / "sparse.parquet"
    path.write_bytes(sparse)
    found = pq.read_table(path)
    assert found.column("id") == table.column("id")
    assert found.take(wanted) == table.take(wanted)
    names = table.column_names
    for name in names:
        kept = found.column(name).is_valid()
        assert found.column(name).filter(kept) == table.column(name).filter(kept)
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT * FROM '{path}'").fetchall() == list(
            zip(*(found.column(name).to_pylist() for name in names), strict=True)
        )
    assert read < len(whole) * max(0.2, len(wanted) / 15)


@given(size=st.integers(64, 1 << 24), rows=st.integers(1, 1 << 20))
def test_a_blank_page_is_as_long_as_it_has_to_be(size: int, rows: int) -> None:
    """Header and body together, for any length: also there where a length takes one byte more."""
    head = blank(size, rows)
    assert len(head) <= 64
    page = read_struct(head)
    levels = page[8][5]
    assert page[2] == page[3] == size - (len(head) - levels)
    assert (page[8][1], page[8][2], page[8][3], page[8][7]) == (rows, rows, rows, False)


def test_lengths_at_which_a_number_grows() -> None:
    """No length is left out."""
    for size in (*range(64, 300), *range(8_200, 8_260), *range(1_048_580, 1_048_680)):
        head = blank(size, 10)
        page = read_struct(head)
        assert page[3] == size - (len(head) - page[8][5])


numbers = st.integers(0, 2**31 - 1)


@given(fields=st.dictionaries(st.integers(1, 15), numbers | st.booleans()), width=st.integers(1, 5))
def test_what_is_written_is_read(fields: dict[int, int | bool], width: int) -> None:
    """Also structs in structs, and numbers that take more bytes than they need."""
    inner = write_struct(sorted(fields.items()))
    found = read_struct(write_struct([(2, Number(7, width)), (3, inner), (9, True)]))
    assert found == {2: 7, 3: fields, 9: True}


@given(data=st.binary(max_size=200))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    """Never anything else: no other error, no endless work."""
    try:
        read_struct(data)
    except ThriftError:
        return


@given(data=st.binary(max_size=300))
def test_a_footer_that_is_none_is_an_error_with_its_key(data: bytes) -> None:
    """One line that says what to do."""
    with pytest.raises(StoreError, match=r"k/merged\.parquet is no complete Parquet file"):
        row_groups(data + len(data).to_bytes(4, "little") + b"PAR1", key="k/merged.parquet")


def test_an_index_that_is_none_is_an_error_with_its_key(written: tuple[bytes, pa.Table]) -> None:
    """The same for page indexes."""
    group = row_groups(written[0], key="k")[0]
    for data in (b"", b"\x00", b"\x19\x0c\x00", written[0][:50]):
        with pytest.raises(StoreError, match="k has a page index that cannot be read"):
            read_pages(data, group, key="k")
