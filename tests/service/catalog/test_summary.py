from __future__ import annotations

from datetime import UTC, datetime

import yaml
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.made import Made, Spending
from datalake_service.catalog.makers import Maker
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, JSON, max_size=4), TEXT | st.none())
def test_who_made_annotations_stands_in_it(parameters: dict[str, object], version: str | None) -> None:
    """Label, code, parameters of any kind and name, rows, times; what it cost."""
    made = Made(
        maker=Maker(version=version, code="0123456789ab", parameters={**parameters, "large": 1e16, "small": 1e-7}),
        generation=2, runs=("a1b2c3",), done=3,
        first_at=datetime(2026, 1, 1, tzinfo=UTC), last_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    summary = Summary(
        dataset="d", batch="b", annotator="lang", merged_at=datetime(2026, 1, 1, tzinfo=UTC), size=0, counts={},
        deduplicate_on=[], columns=[], files=[], made=[made, made], spent=Spending(3, 1.5, 0.25, 10, 2),
    )  # fmt: skip
    page = yaml.safe_load(summary_yaml(summary))
    assert page["made"] == [made.to_dict(), made.to_dict()]
    assert page["spent"] == {"attempts": 3, "seconds": 1.5, "cost": 0.25, "inputTokens": 10, "outputTokens": 2}
