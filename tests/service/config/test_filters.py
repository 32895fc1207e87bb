from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from datalake_service.config.filters import (
    AllFilter,
    AnyFilter,
    BooleanFilter,
    FilterNode,
    RawDuckFilter,
    parse_filter,
)
from datalake_service.errors import FilterError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = st.one_of(
    st.builds(BooleanFilter, field=TEXT, value=st.booleans()),
    st.builds(RawDuckFilter, sql=TEXT.filter(lambda text: bool(text.strip()))),
)
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllFilter, filters=st.lists(inner, max_size=4)),
        st.builds(AnyFilter, filters=st.lists(inner, max_size=4)),
    ),
)


@given(node=NODES)
def test_filters_survive_json(node: AllFilter | AnyFilter | BooleanFilter | RawDuckFilter) -> None:
    """As an object, as text, by pydantic and by json."""
    assert parse_filter(node) is node
    assert parse_filter(node.model_dump()) == node
    assert parse_filter(node.model_dump_json()) == node
    assert parse_filter(json.dumps(node.model_dump())) == node
    assert type(node).model_validate(node.model_dump()) == node


def test_filters_nest_deeply() -> None:
    """Further than pydantic's own JSON parser goes."""
    node: AllFilter | RawDuckFilter = RawDuckFilter(sql="a")
    for _ in range(200):
        node = AllFilter(filters=[node])
    assert parse_filter(json.dumps(node.model_dump())) == node


def test_a_filter_is_a_field_of_other_models() -> None:
    """``FilterNode`` is a type for annotations; ``type`` decides the class."""

    class Job(BaseModel):
        only: FilterNode

    found = Job.model_validate({"only": {"type": "any", "filters": [{"type": "boolean", "field": "x", "value": True}]}})
    assert found.only == AnyFilter(filters=[BooleanFilter(field="x", value=True)])
    assert "raw_duck" in json.dumps(Job.model_json_schema())


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (
            {"type": "al", "filters": []},
            "filter: unknown type 'al'; allowed: 'all', 'any', 'not', 'boolean', 'equals', ",
        ),
        ({"filters": []}, "filter: needs a type; allowed: 'all', 'any', 'not', 'boolean', 'equals', "),
        ({"type": "not", "filter": {"type": "equals", "field": "x"}}, "filter.filter.value: is missing"),
        ({"type": "equals", "field": "x", "value": None}, "filter.value: "),
        ({"type": "in", "field": "x", "values": [1, [2]]}, "filter.values[1]: "),
        ({"type": "range", "field": "x"}, "filter: needs one of gt, ge, lt and le at least"),
        ({"type": "range", "field": "x", "gt": 1, "lt": "a"}, "filter: needs one of gt, ge, lt and le at least"),
        ({"type": "contains", "field": "x", "value": "\ud800"}, "filter.value: holds characters that are no text"),
        (
            {"type": "all", "filters": [{"type": "boolean", "feild": "x", "value": True}]},
            "filter.filters[0].field: is missing (and 1 more)",
        ),
        ({"type": "any", "filters": [{"type": "all", "filters": [{}]}]}, "filter.filters[0].filters[0]: needs a type"),
        ({"type": "boolean", "field": "x", "value": 1}, "filter.value: Input should be a valid boolean"),
        ({"type": "boolean", "field": "x", "value": True, "v": 1}, "filter.v: no filter of this type has it"),
        ({"type": "raw_duck", "sql": " \n"}, "filter.sql: allowed: one SQL expression, such as length(text) > 20"),
        ({"type": "all", "filters": {}}, "filter.filters: Input should be a valid list"),
        ("{", "filter: not the JSON of a filter"),
        ("[" * 100_000, "filter: not the JSON of a filter"),
        ("3", "filter: int is no filter; use AllFilter, AnyFilter, EqualsFilter, RawDuckFilter or another"),
        (None, "filter: NoneType is no filter"),
        ([], "filter: list is no filter"),
    ],
)
def test_a_mistake_is_one_line_that_says_where(given_: Any, message: str) -> None:
    """With what is allowed."""
    with pytest.raises(FilterError) as caught:
        parse_filter(given_)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_classes_check_their_values() -> None:
    """A mistake shows where it is made."""
    with pytest.raises(ValidationError):
        BooleanFilter(field="x", value="yes")
    with pytest.raises(ValidationError):
        BooleanFilter(field="x", value=True, wrong=1)  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(ValidationError):
        RawDuckFilter(sql="")
    with pytest.raises(ValidationError):
        AllFilter(filters=[{"type": "nothing"}])
