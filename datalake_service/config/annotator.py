"""``annotators``: columns that classes of yours add to the rows after the merge."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from datalake_service.config.faults import Location, wrong_at
from datalake_service.config.section import (
    AsTuple,
    ClassName,
    JsonObject,
    LakeName,
    PositiveInt,
    Section,
    Share,
    Text,
)

DEFAULT_CONCURRENCY = 16
"""Rows that an annotator works on at once, as in the Python surface."""


class AnnotatorConfig(Section):
    """One annotator."""

    annotator_name: LakeName
    """Its name; its columns are called `name.column`."""
    annotator_implementation_class_name: ClassName
    """The `Annotator`."""
    parameters: JsonObject = Field(default_factory=dict)
    """Passed to its constructor as keywords. No secrets: the dataset file is stored in the lake."""
    base_columns: Annotated[tuple[Text, ...], AsTuple] | None = None
    """Columns that it sees; default: all."""
    annotator_columns: dict[LakeName, Annotated[tuple[Text, ...], AsTuple]] = Field(default_factory=dict)
    """Columns of other annotators that it sees, as `{"lang": ["label"]}`."""
    filter: JsonObject | None = None
    """Only rows for which it holds: the JSON of the filter classes, such as
    `{"type": "boolean", "field": "lang.is_english", "value": true}`."""
    fraction: Share = 1.0
    """The share of rows to annotate; a larger share contains the rows of a smaller one."""
    max_concurrency: PositiveInt = DEFAULT_CONCURRENCY
    """How many rows it works on at once."""
    timeout_in_seconds: Annotated[float, Field(gt=0)] | None = None
    """How long one row may take; default: as long as it likes."""
    version: Text | None = None
    """A label of yours for this version of the annotator, kept with what it made."""

    @field_validator("annotator_columns")
    @classmethod
    def _not_its_own(cls, value: dict[str, tuple[str, ...]], info: ValidationInfo) -> dict[str, tuple[str, ...]]:
        own = info.data.get("annotator_name")
        if own in value:
            raise wrong_at("annotatorColumns", [((own,), own, "an annotator does not see its own columns")])
        return value


def check_order(annotators: tuple[AnnotatorConfig, ...]) -> tuple[AnnotatorConfig, ...]:
    """Return the list if names are unique and no annotator needs one that runs later.

    Raises:
        ValidationError: Every entry that is wrong.
    """
    names = [annotator.annotator_name for annotator in annotators]
    faults: list[tuple[Location, object, str]] = []
    for number, annotator in enumerate(annotators):
        if (first := names.index(annotator.annotator_name)) < number:
            message = f"the name of annotators[{first}] already; allowed: a name of its own"
            faults.append(((number, "annotatorName"), annotator.annotator_name, message))
        faults.extend(
            ((number, "annotatorColumns", other), other, f"runs later, as annotators[{names.index(other)}]; move it up")
            for other in annotator.annotator_columns
            if other in names[number + 1 :] and other not in names[: number + 1]
        )
    if faults:
        raise wrong_at("annotators", faults)
    return annotators
