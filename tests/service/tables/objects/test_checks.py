"""Ids are compared the same whatever memory there is."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.storage.folder import FolderStore
from datalake_service.tables.objects.checks import ids_without_base, read_all, repeated_ids
from datalake_service.tables.objects.merged import MergedFile
from tests.support.lake import CREATED_AT, put_annotations, put_rows

IDS = st.lists(st.integers(0, 30).map(str), max_size=40)


@settings(max_examples=30)
@given(base=IDS, annotated=st.sets(st.integers(0, 40).map(str)), memory=st.sampled_from([300, 2_000, 1 << 20]))
def test_ids_are_compared_as_sets_would_be(base: list[str], annotated: set[str], memory: int) -> None:
    """With one pass or with many, over one row group or several."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(folder, durable=False)
        rows = put_rows(store, "posts", "b", [{"id": name} for name in base], group_rows=7)
        merged = put_annotations(store, "posts", "lang", "b", dict.fromkeys(annotated, "skipped"))
        with closing(MergedFile(store, rows)) as one, closing(MergedFile(store, merged)) as other:
            assert repeated_ids(one, memory_bytes=memory).count == len(base) - len(set(base))
            assert set(repeated_ids(one, memory_bytes=memory).examples) <= {
                name for name, count in Counter(base).items() if count > 1
            }
            assert ids_without_base(one, other, memory_bytes=memory).count == len(annotated - set(base))
            assert ids_without_base(None, other, memory_bytes=memory).count == len(annotated)
            contents = read_all(one, batch="b", times={CREATED_AT, "never"})
            assert (contents.rows, contents.misplaced, contents.without_id) == (len(base), 0, 0)
            assert contents.times == ({CREATED_AT} if base else set())
            assert read_all(one, batch="c").misplaced == len(base)
