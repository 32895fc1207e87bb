"""What a model answers: the schema that it is given, and the check of every answer whatever it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from datalake_interfaces.attempts import TryLaterError
from datalake_service.config.llm import ColumnConfig, ColumnType

_TYPES: Final[dict[ColumnType, type]] = {
    ColumnType.STRING: str,
    ColumnType.INTEGER: int,
    ColumnType.NUMBER: float,
    ColumnType.BOOLEAN: bool,
}
_MAX_FAULTS: Final = 8
"""Faults of an answer that are told."""
_FENCE: Final = "```"


class UnusableAnswerError(TryLaterError):
    """An answer that does not fit. Worth another attempt at once: the model is shown what is wrong."""

    def __init__(self, fault: str, *, answer: str, repairs: int) -> None:
        """``fault`` names columns and rules, never values; ``repairs``: how many attempts were repairs so far."""
        super().__init__(f"the model's answer cannot be used: {fault}", after_seconds=0)
        self.fault = fault
        self.answer = answer
        self.repairs = repairs


class AnswerReader:
    """Reads answers that consist of certain columns."""

    def __init__(self, columns: Mapping[str, ColumnConfig]) -> None:
        """Build the model of an answer."""
        self._names = {f"column_{number}": name for number, name in enumerate(columns)}
        fields: dict[str, Any] = {
            field: (_annotation(columns[name]), Field(alias=name)) for field, name in self._names.items()
        }
        config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
        self._model: type[BaseModel] = create_model("Answer", __config__=config, **fields)
        self.schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: _schema(column) for name, column in columns.items()},
            "required": list(columns),
            "additionalProperties": False,
        }
        """The same as JSON Schema."""

    def read(self, text: str) -> dict[str, Any] | str:
        """The columns of an answer, or in words what is wrong with it."""
        try:
            answer = self._model.model_validate_json(_unfenced(text))
        except ValidationError as error:
            return self._in_words(error)
        return {name: getattr(answer, field) for field, name in self._names.items()}

    def _in_words(self, error: ValidationError) -> str:
        faults = []
        for fault in error.errors(include_url=False, include_input=False)[:_MAX_FAULTS]:
            kind, place = fault["type"], fault["loc"]
            if kind == "json_invalid":
                return "it is no JSON, or was cut off"
            known = [str(part) for part in place[:1] if part in self._names.values()]
            faults.append(
                "it has a column that was not asked for"
                if kind == "extra_forbidden"
                else f"{known[0] if known else 'answer'}: {fault['msg']}"
            )
        return "; ".join(dict.fromkeys(faults))


def _unfenced(text: str) -> str:
    """Without the marks of a code block, which models like to put around JSON."""
    text = text.strip()
    if text.startswith(_FENCE) and text.endswith(_FENCE) and "\n" in text:
        return text.split("\n", 1)[1].removesuffix(_FENCE)
    return text


def _annotation(column: ColumnConfig) -> object:
    kind: object
    if column.values is not None:
        kind = Literal[column.values]
    elif column.type is ColumnType.ARRAY:
        item: Any = _TYPES[column.items or ColumnType.STRING]
        kind = Annotated[list[item], Field(min_length=_whole(column.minimum), max_length=_whole(column.maximum))]
    elif column.type is ColumnType.STRING:
        kind = Annotated[str, Field(min_length=_whole(column.minimum), max_length=_whole(column.maximum))]
    elif column.type is ColumnType.BOOLEAN:
        kind = bool
    else:
        kind = Annotated[_TYPES[column.type], Field(ge=column.minimum, le=column.maximum)]
    return kind | None if column.nullable else kind


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _schema(column: ColumnConfig) -> dict[str, Any]:
    kind = str(column.type.value)
    schema: dict[str, Any] = {"type": [kind, "null"] if column.nullable else kind}
    least, most = {
        ColumnType.STRING: ("minLength", "maxLength"),
        ColumnType.ARRAY: ("minItems", "maxItems"),
    }.get(column.type, ("minimum", "maximum"))
    if column.description is not None:
        schema["description"] = column.description
    if column.values is not None:
        schema["enum"] = [*column.values, *([None] if column.nullable else [])]
    if column.type is ColumnType.ARRAY:
        schema["items"] = {"type": str((column.items or ColumnType.STRING).value)}
    if column.minimum is not None:
        schema[least] = column.minimum
    if column.maximum is not None:
        schema[most] = column.maximum
    return schema
