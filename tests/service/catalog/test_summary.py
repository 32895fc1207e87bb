from __future__ import annotations

from datetime import UTC, datetime

import yaml
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.summary import Summary, summary_yaml

TEXT = st.text(max_size=12)  # without lone surrogates


@given(st.lists(TEXT, max_size=4), st.lists(st.tuples(TEXT, st.sampled_from(["json", "string"])), max_size=4))
def test_the_page_is_yaml(keys: list[str], columns: list[tuple[str, str]]) -> None:
    """Whatever columns are called, a YAML reader finds them."""
    summary = Summary(
        dataset="d", batch="b", merged_at=datetime(2026, 1, 1, tzinfo=UTC), size=5, counts={"rows": 1},
        deduplicate_on=keys, columns=columns, files=[("a1b2c3_chunk_00000.jsonl", 7), ("x.jsonl", None)],
    )  # fmt: skip
    assert yaml.safe_load(summary_yaml(summary)) == {
        "dataset": "d",
        "batch": "b",
        "mergedAt": "2026-01-01T00:00:00.000000Z",
        "bytes": 5,
        "counts": {"rows": 1},
        "deduplicateOn": keys,
        "columns": [{"name": name, "type": kind} for name, kind in columns],
        "lastMerge": {"files": 2, "bytes": 7, "runs": ["a1b2c3"]},
    }


def test_the_page_of_an_annotator_names_it() -> None:
    """Empty lists and maps are written out; a name that is no UTF-8 is escaped."""
    summary = Summary(
        dataset="d", batch="b", annotator="lang", merged_at=datetime(2026, 1, 1, tzinfo=UTC), size=0, counts={},
        deduplicate_on=[], columns=[("\ud800", "json")], files=[],
    )  # fmt: skip
    page = summary_yaml(summary).decode("ascii")
    assert 'annotator: "lang"\n' in page
    assert "counts: {}\ndeduplicateOn: []\n" in page
    assert '- {name: "\\ud800", type: "json"}' in page
