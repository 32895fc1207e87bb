"""``llm``: an annotator without code. A prompt over columns, and the columns that a language model answers."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from datalake_service.config.choice import Choice
from datalake_service.config.faults import absent, wrong, wrong_at
from datalake_service.config.section import AsTuple, Form, JsonObject, PositiveInt, Section, Text

_PLACE: Final = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
"""Where a column stands in a template."""


_PATH: Final = "/chat/completions"
MAX_COMPLETION_TOKENS: Final = "max_completion_tokens"
"""What models that reason want in the place of ``max_tokens``, which they refuse."""


class ColumnType(Choice):
    """What a column holds."""

    STRING = "string"
    """Text."""
    INTEGER = "integer"
    """A whole number."""
    NUMBER = "number"
    """Any number."""
    BOOLEAN = "boolean"
    """True or false."""
    ARRAY = "array"
    """A list of `items`."""


class ColumnConfig(Section):
    """One column of the answer."""

    type: ColumnType
    """What it holds."""
    description: Text | None = None
    """What it means; the model reads it."""
    values: Annotated[tuple[Text, ...], AsTuple] | None = None
    """The texts that are allowed; default: any."""
    items: ColumnType | None = None
    """What a list holds."""
    minimum: float | None = None
    """The least number, or the least length."""
    maximum: float | None = None
    """The largest number, or the largest length."""
    nullable: bool = False
    """Whether the model may answer null."""

    @field_validator("values")
    @classmethod
    def _of_texts(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is not None and (not value or info.data.get("type") not in {None, ColumnType.STRING}):
            raise wrong("allowed: a list of texts, for a column of the type string")
        return value

    @field_validator("items")
    @classmethod
    def _of_lists(cls, value: ColumnType | None, info: ValidationInfo) -> ColumnType | None:
        if value is not None and (value is ColumnType.ARRAY or info.data.get("type") not in {None, ColumnType.ARRAY}):
            raise wrong("allowed: string, integer, number or boolean, for a column of the type array")
        return value

    @field_validator("maximum")
    @classmethod
    def _not_below(cls, value: float | None, info: ValidationInfo) -> float | None:
        least = info.data.get("minimum")
        if value is not None and least is not None and value < least:
            raise wrong(f"allowed: at least the minimum, {least:g}")
        return value


class AnswerFormat(Choice):
    """How the service is asked for JSON."""

    SCHEMA = "jsonSchema"
    """By the schema: `response_format` of the type `json_schema`."""
    OBJECT = "jsonObject"
    """For any JSON object; the schema stands in the prompt."""
    PROMPT = "prompt"
    """By the prompt alone, for services that know no `response_format`."""


class PriceConfig(Section):
    """What a million tokens cost."""

    input_per_million: Annotated[float, Field(ge=0)]
    """Of the prompt."""
    output_per_million: Annotated[float, Field(ge=0)]
    """Of the answer."""

    @property
    def is_any(self) -> bool:
        """Whether anything costs something."""
        return self.input_per_million > 0 or self.output_per_million > 0


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that a template names, each once, in order."""
    return tuple(dict.fromkeys(_PLACE.findall(template)))


def filled(template: str, texts: dict[str, str]) -> str:
    """The template with the text of each column in its place; texts are not looked at for places."""
    return _PLACE.sub(lambda place: texts[place[1]], template)


def _endpoint(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise wrong("allowed: the base URL of the service, such as https://host/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise wrong("allowed: a URL without user, password, ? and #; the key comes from apiKeyVariable")
    value = value.rstrip("/")
    if value.endswith(_PATH):
        raise wrong(f"allowed: the base URL, without {_PATH}")
    return value


def _template(value: str) -> str:
    if "" in columns_of(value) or value.count("{{") != len(_PLACE.findall(value)):
        raise wrong("allowed: text with {{column}}; each {{ needs a name and }}")
    return value


class LlmConfig(Section):
    """A language model behind an OpenAI-compatible service (`POST endpoint/chat/completions`)."""

    endpoint: Annotated[Text, AfterValidator(_endpoint)]
    """Base URL of the service, such as `https://host/v1`."""
    model: Text
    """The model's name there."""
    prompt: Annotated[Text, AfterValidator(_template)]
    """What is asked, with `{{column}}` where a column of the row stands."""
    system: Annotated[Text, AfterValidator(_template)] | None = None
    """What the model is told before that; may name columns too."""
    response: dict[Text, ColumnConfig]
    """The columns of the answer."""
    answer_format: AnswerFormat = AnswerFormat.SCHEMA
    """How the service is asked for JSON."""
    repairs: Annotated[int, Field(ge=0)] = 1
    """How often the model is shown what is wrong with its answer, before the row fails."""
    parameters: JsonObject = Field(default_factory=dict)
    """More fields of the request, such as `temperature`."""
    max_output_tokens: PositiveInt = 1_000
    """Tokens of an answer, at most (`max_tokens`). For models that refuse that field, say `max_completion_tokens` in
    `parameters` instead."""
    price: PriceConfig | None = None
    """What tokens cost; default: costs are not known, and a budget of money cannot be kept."""
    api_key_variable: Annotated[str, Form(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")] | None = (
        None
    )
    """The environment variable that holds the key. The key itself is never written into a file."""

    @field_validator("response")
    @classmethod
    def _columns(cls, value: dict[str, ColumnConfig]) -> dict[str, ColumnConfig]:
        if not value:
            raise absent("at least one column")
        reserved = [name for name in value if name == "id" or name.startswith("_")]
        if reserved:
            raise wrong_at(
                "response", [((name,), name, "no column may be 'id' or start with '_'") for name in reserved]
            )
        return value

    @field_validator("parameters")
    @classmethod
    def _not_ours(cls, value: JsonObject) -> JsonObject:
        ours = [name for name in ("messages", "model", "response_format", "stream", "max_tokens", "n") if name in value]
        if ours:
            raise wrong_at("parameters", [((name,), value[name], "set by the annotator") for name in ours])
        most = value.get(MAX_COMPLETION_TOKENS, 1)
        if type(most) is not int or most < 1:
            raise wrong_at("parameters", [((MAX_COMPLETION_TOKENS,), most, "allowed: a whole number, at least 1")])
        return value

    @property
    def most_output_tokens(self) -> int:
        """Tokens of an answer, at most, whichever way the file says it."""
        most = self.parameters.get(MAX_COMPLETION_TOKENS, self.max_output_tokens)
        return most if isinstance(most, int) else self.max_output_tokens

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that prompt and system name."""
        return columns_of(self.prompt + "\n" + (self.system or ""))
