"""``embedding`` and ``classifier``: annotators without code, by a small model in the process that runs them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from datalake_service.config.faults import absent, wrong
from datalake_service.config.section import AsTuple, ClassName, JsonObject, PositiveInt, Section, Text

DEFAULT_BATCH_SIZE = 128
"""Texts in a call of the model."""
_FEWEST_LABELS = 2


def _column(value: str) -> str:
    if value == "id" or value.startswith("_"):
        raise wrong("no column may be 'id' or start with '_'")
    return value


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


NewColumn = Annotated[Text, AfterValidator(_column)]
"""A column that an annotator makes."""
Descriptions = Annotated[tuple[Text, ...], AsTuple, BeforeValidator(_several, json_schema_input_type=list[Text] | Text)]
"""One text or several."""


class _TextModelConfig(Section):
    """A model that makes vectors of texts, and the column that it reads."""

    column: Text
    """The column with the text; `annotator.column` for one of another annotator."""
    model_implementation_class_name: ClassName | None = None
    """A `VectorModel` of yours; default: WordLlama, a small model for English with its weights inside
    (`pip install 'datalake[vectors]'`)."""
    model_parameters: JsonObject = Field(default_factory=dict)
    """Passed to its constructor as keywords."""
    batch_size: PositiveInt = DEFAULT_BATCH_SIZE
    """Texts in a call, at most."""


class EmbeddingConfig(_TextModelConfig):
    """A vector for each text."""

    into: NewColumn = "vector"
    """The column of the vectors: lists of numbers."""


class ClassifierConfig(_TextModelConfig):
    """A label for each text: the one whose descriptions are nearest, or what a trained linear model says."""

    labels: dict[Text, Descriptions] | None = None
    """Labels, each with a description or several, such as typical texts. The nearest label is the answer, and its
    score the cosine of the two vectors."""
    weights: Text | None = Field(None, validate_default=True)
    """A JSON file beside the dataset file with a trained linear model over the vectors:
    `{"labels": [...], "weights": [[...]], "bias": [...]}`. The score is a probability."""
    into: NewColumn = "label"
    """The column of the labels; `score` stands beside it."""
    least_score: float | None = None
    """Texts whose best score is lower get no label (null), but their score."""

    @field_validator("labels")
    @classmethod
    def _some_to_choose_from(cls, value: dict[str, tuple[str, ...]] | None) -> dict[str, tuple[str, ...]] | None:
        if value is not None and len(value) < _FEWEST_LABELS:
            raise wrong(f"allowed: {_FEWEST_LABELS} labels at least")
        if value is not None and not all(value.values()):
            raise wrong("allowed: at least one description for each label")
        return value

    @field_validator("weights")
    @classmethod
    def _one_of_both(cls, value: str | None, info: ValidationInfo) -> str | None:
        labels = info.data.get("labels", ...)
        if value is None and labels is None:
            raise absent("needed without labels: the file of a trained model")
        if value is not None and labels not in (None, ...):
            raise wrong("labels says another way to classify; keep one of them")
        return value

    @field_validator("into")
    @classmethod
    def _not_the_score(cls, value: str) -> str:
        if value == "score":
            raise wrong("the score is in the column score; allowed: another name")
        return value
