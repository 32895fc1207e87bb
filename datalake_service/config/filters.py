"""Filters: which rows a view selects, as values that can be written to JSON and read back.

They carry column names and SQL text; what those mean is decided in ``tables/filters/conditions.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal, Self, cast

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    field_validator,
    model_validator,
)

from datalake_service.errors import FilterError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class _Filter(BaseModel):
    # Building is deferred to the first use: a program that filters by one column should not wait for the others.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )


def _is_text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        from datalake_service.config.faults import wrong

        raise wrong("holds characters that are no text (lone surrogates)") from None
    return value


def _case() -> Any:  # noqa: ANN401 - what stands behind a field
    return Field(
        default=True,
        validation_alias=AliasChoices("case_sensitive", "caseSensitive"),
        description="Whether upper and lower case matter.",
    )


Text = Annotated[StrictStr, AfterValidator(_is_text)]
Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Scalar = StrictBool | Number | Text
Bound = Number | Text


class BooleanFilter(_Filter):
    """Selects rows in which a column is exactly ``value``. Null is neither true nor false."""

    type: Literal["boolean"] = "boolean"
    field: str = Field(description="A base column (is_ok) or a column of an annotator (lang.is_english).")
    value: StrictBool


class _ColumnFilter(_Filter):
    field: str = Field(description="A base column (text) or a column of an annotator (lang.label).")


class EqualsFilter(_ColumnFilter):
    """Selects rows in which a column equals ``value``. Numbers equal by value, text never equals a number."""

    type: Literal["equals"] = "equals"
    value: Scalar


class NotEqualsFilter(_ColumnFilter):
    """Selects rows in which a column has a value, and it is not ``value``."""

    type: Literal["not_equals"] = "not_equals"
    value: Scalar


class InFilter(_ColumnFilter):
    """Selects rows in which a column equals one of ``values``; without any, no row."""

    type: Literal["in"] = "in"
    values: list[Scalar]


class RangeFilter(_ColumnFilter):
    """Selects rows in which a column lies between bounds: numbers by value, text by its characters' numbers."""

    type: Literal["range"] = "range"
    gt: Bound | None = Field(None, description="Larger than this.")
    ge: Bound | None = Field(None, description="This, or larger.")
    lt: Bound | None = Field(None, description="Smaller than this.")
    le: Bound | None = Field(None, description="This, or smaller.")

    @model_validator(mode="after")
    def _has_bound(self) -> Self:
        given = [bound for bound in (self.gt, self.ge, self.lt, self.le) if bound is not None]
        if not given or len({isinstance(bound, str) for bound in given}) > 1:
            from datalake_service.config.faults import wrong

            raise wrong("needs one of gt, ge, lt and le at least, all of them numbers or all of them text")
        return self


class ContainsFilter(_ColumnFilter):
    """Selects rows whose text in a column contains ``value``. What is not text counts as its JSON."""

    type: Literal["contains"] = "contains"
    value: Text
    case_sensitive: StrictBool = _case()


class StartsWithFilter(_ColumnFilter):
    """Selects rows whose text in a column starts with ``value``. What is not text counts as its JSON."""

    type: Literal["starts_with"] = "starts_with"
    value: Text
    case_sensitive: StrictBool = _case()


class RegexFilter(_ColumnFilter):
    """Selects rows in whose text in a column a regular expression (RE2's syntax) matches somewhere."""

    type: Literal["regex"] = "regex"
    pattern: Text
    case_sensitive: StrictBool = _case()


class NullFilter(_ColumnFilter):
    """Selects rows in which a column is null or missing; with ``value=False``, those in which it is not."""

    type: Literal["null"] = "null"
    value: StrictBool = True


class NotFilter(_Filter):
    """Selects exactly the rows that ``filter`` does not select."""

    type: Literal["not"] = "not"
    filter: FilterNode


class RawDuckFilter(_Filter):
    """Selects rows for which an SQL expression of DuckDB is true."""

    type: Literal["raw_duck"] = "raw_duck"
    sql: str = Field(description="One expression, for instance length(text) > 20 AND lang.label = 'en'.")

    @field_validator("sql")
    @classmethod
    def _has_text(cls, value: str) -> str:
        if not value.strip():
            from datalake_service.config.faults import wrong

            raise wrong("allowed: one SQL expression, such as length(text) > 20")
        return value


class AllFilter(_Filter):
    """Selects rows that every one of ``filters`` selects; without any, every row."""

    type: Literal["all"] = "all"
    filters: list[FilterNode]


class AnyFilter(_Filter):
    """Selects rows that at least one of ``filters`` selects; without any, no row."""

    type: Literal["any"] = "any"
    filters: list[FilterNode]


FilterNode = Annotated[
    AllFilter
    | AnyFilter
    | NotFilter
    | BooleanFilter
    | EqualsFilter
    | NotEqualsFilter
    | InFilter
    | RangeFilter
    | ContainsFilter
    | StartsWithFilter
    | RegexFilter
    | NullFilter
    | RawDuckFilter,
    Field(discriminator="type"),
]
"""Any filter. As JSON, ``type`` says which: ``all``, ``equals``, ``raw_duck`` and so on."""

FILTERS: Final[tuple[type[_Filter], ...]] = (
    AllFilter,
    AnyFilter,
    NotFilter,
    BooleanFilter,
    EqualsFilter,
    NotEqualsFilter,
    InFilter,
    RangeFilter,
    ContainsFilter,
    StartsWithFilter,
    RegexFilter,
    NullFilter,
    RawDuckFilter,
)
"""Every class of filters."""
TYPES: Final = {filter_class.model_fields["type"].default: filter_class for filter_class in FILTERS}
"""The classes by what ``type`` says."""

_TRIED = frozenset({"bool", "int", "float", "str", "function-after[_is_text(), str]"})

_MESSAGES = {
    "union_tag_invalid": "unknown type '{tag}'; allowed: {expected_tags}",
    "union_tag_not_found": "needs a type; allowed: " + ", ".join(map(repr, TYPES)),
    "extra_forbidden": "no filter of this type has it",
    "missing": "is missing",
}


@cache
def _node() -> TypeAdapter[FilterNode]:
    from pydantic import TypeAdapter

    return TypeAdapter(FilterNode)


def parse_filter(value: object, *, what: str = "filter") -> FilterNode:
    """Return a filter given as one of the classes, as the object of its JSON, or as JSON text.

    ``what`` names the argument in errors.

    Raises:
        FilterError: Not a filter; the message names the first mistake and where it is.
    """
    try:
        if isinstance(value, FILTERS):
            return cast("FilterNode", value)
        if isinstance(value, str):
            value = json.loads(value)  # pydantic's own parser stops at a third of the depth
        if isinstance(value, Mapping):
            return _node().validate_python(value)
    except ValidationError as error:
        raise FilterError(_first_mistake(error, what)) from None
    except (ValueError, RecursionError) as error:
        raise FilterError(f"{what}: not the JSON of a filter ({error})") from None
    raise FilterError(
        f"{what}: {type(value).__name__} is no filter; use AllFilter, AnyFilter, EqualsFilter, RawDuckFilter or another"
    )


def _first_mistake(error: ValidationError, what: str) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _path(fault["loc"]))
    message = _MESSAGES.get(fault["type"], "{msg}").format(msg=fault["msg"], **fault.get("ctx", {}))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{what}{place}: {message}{more}"


def _path(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Leave out the tags that pydantic puts between the parts of a path."""
    kept: list[int | str] = []
    in_union = True  # a filter follows, and before its path stands its tag
    for part in location:
        if in_union and part in TYPES:
            in_union = False
            continue
        kept.append(part)
        in_union = isinstance(part, int) or part == "filter"
    # Behind the place of a value stands which kind of value was tried.
    return tuple(part for part in kept if isinstance(part, int) or part not in _TRIED)
