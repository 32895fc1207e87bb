"""Filters: which rows a view selects, as values that can be written to JSON and read back.

They carry column names and SQL text; what those mean is decided where a view is planned (``tables/conditions.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError, field_validator

from datalake_service.errors import FilterError

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class _Filter(BaseModel):
    # Building is deferred to the first use: a program that filters by one column should not wait for the others.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True
    )


class BooleanFilter(_Filter):
    """Selects rows in which a column is exactly ``value``. Null is neither true nor false."""

    type: Literal["boolean"] = "boolean"
    field: str = Field(description="A base column (is_ok) or a column of an annotator (lang.is_english).")
    value: StrictBool


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


FilterNode = Annotated[AllFilter | AnyFilter | BooleanFilter | RawDuckFilter, Field(discriminator="type")]
"""Any filter. As JSON, ``type`` says which: ``all``, ``any``, ``boolean`` or ``raw_duck``."""

_MESSAGES = {
    "union_tag_invalid": "unknown type '{tag}'; allowed: {expected_tags}",
    "union_tag_not_found": "needs a type; allowed: 'all', 'any', 'boolean', 'raw_duck'",
    "extra_forbidden": "no filter of this type has it",
    "missing": "is missing",
}


@cache
def _node() -> TypeAdapter[AllFilter | AnyFilter | BooleanFilter | RawDuckFilter]:
    from pydantic import TypeAdapter

    return TypeAdapter(FilterNode)


def parse_filter(value: object, *, what: str = "filter") -> AllFilter | AnyFilter | BooleanFilter | RawDuckFilter:
    """Return a filter given as one of the classes, as the object of its JSON, or as JSON text.

    ``what`` names the argument in errors.

    Raises:
        FilterError: Not a filter; the message names the first mistake and where it is.
    """
    try:
        if isinstance(value, AllFilter | AnyFilter | BooleanFilter | RawDuckFilter):
            return value
        if isinstance(value, str):
            value = json.loads(value)  # pydantic's own parser stops at a third of the depth
        if isinstance(value, Mapping):
            return _node().validate_python(value)
    except ValidationError as error:
        raise FilterError(_first_mistake(error, what)) from None
    except (ValueError, RecursionError) as error:
        raise FilterError(f"{what}: not the JSON of a filter ({error})") from None
    raise FilterError(
        f"{what}: {type(value).__name__} is no filter; use AllFilter, AnyFilter, BooleanFilter or RawDuckFilter"
    )


def _first_mistake(error: ValidationError, what: str) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in _path(fault["loc"]))
    message = _MESSAGES.get(fault["type"], "{msg}").format(msg=fault["msg"], **fault.get("ctx", {}))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{what}{place}: {message}{more}"


def _path(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Leave out the tags that pydantic puts between the parts of a path."""
    tags = {"all", "any", "boolean", "raw_duck"}
    return tuple(part for part in location if part not in tags)
