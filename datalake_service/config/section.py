"""What all sections of a dataset file have in common: strict, frozen, camelCase; and the types of their fields."""

from __future__ import annotations

import functools
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, ValidationError, core_schema

from datalake_service.config.choice import Choice
from datalake_service.config.faults import reworded, wrong
from datalake_utils.docstrings import attribute_docstrings

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

JsonObject = dict[str, Any]
"""A JSON object whose content is the user's, not ours."""
STANDARD_LIBRARY = "{pythonStdlib}"
"""At the beginning of a path: the folder of Python's standard library, text that every machine has."""


class Section(BaseModel):
    """One object of the dataset file. Unknown keys and values of the wrong JSON type are errors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        hide_input_in_errors=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _in_our_words(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Reword errors while it is known which keys this section has."""
        try:
            return handler(value)
        except ValidationError as error:
            raise reworded(error, cls.__name__, keys=cls.keys(), described=_described(cls)) from None

    @classmethod
    def keys(cls) -> dict[str, tuple[str, ...]]:
        """Every JSON key of the section (and the name of its attribute) with all keys that mean the same."""
        found: dict[str, tuple[str, ...]] = {}
        for name, field in cls.model_fields.items():
            alias = field.validation_alias
            same = tuple(str(choice) for choice in alias.choices) if isinstance(alias, AliasChoices) else (str(alias),)
            found.update(dict.fromkeys((*same, name), same))
        return found

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """What is written below each attribute.

        Pydantic can do it, but reads the source of every section when it is loaded, in each process.
        """
        return {
            name: text
            for section in reversed(cls.__mro__)
            if issubclass(section, Section)
            for name, text in attribute_docstrings(section).items()
        }


@functools.cache
def _described(section: type[Section]) -> dict[str, str]:
    """What each key is for, in one sentence."""
    keys, descriptions = section.keys(), section.descriptions()
    return {
        key: _uncapitalised(descriptions.get(name, "").split(". ")[0].rstrip("."))
        for name in section.model_fields
        for key in keys[name]
    }


class ResourceLocation(Choice):
    """Who owns a resource."""

    CUSTOMER = "Customer"
    """You do: it exists, and is named by another field."""
    LETSDATA = "LetsData"
    """The service does. Here that means: it is part of the lake."""


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def spelled(*names: str) -> AliasChoices:
    """The JSON keys of a field, the documented one first. More than one of them in a section is an error."""
    return AliasChoices(*names)


@dataclass(frozen=True, slots=True)
class Form:
    """A form that a text must have as a whole. Used as metadata of a field's type."""

    pattern: str
    """Regular expression."""
    allowed: str
    """The same in words."""

    def check(self, value: str) -> str:
        """Return ``value`` if it has the form.

        Raises:
            PydanticCustomError: It has not.
        """
        if re.fullmatch(self.pattern, value) is None:
            raise wrong(f"allowed: {self.allowed}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the type."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell editors."""
        return {**handler(schema), "pattern": f"^(?:{self.pattern})$"}


def _tuple(value: object) -> object:
    """A JSON array as a tuple: values are frozen."""
    return tuple(value) if isinstance(value, list) else value


def _path(value: object, info: ValidationInfo) -> Path:
    """A path of the file system, relative to the folder of the dataset file."""
    if not isinstance(value, str) or not value:
        raise wrong("allowed: a path, as text")
    folder: Path = (info.context or {}).get("folder", Path())
    if value.startswith(STANDARD_LIBRARY):
        value = sysconfig.get_path("stdlib") + value.removeprefix(STANDARD_LIBRARY)
    try:
        return folder / Path(value.removeprefix("file://")).expanduser()
    except RuntimeError:
        raise wrong("~ names nobody on this machine who has a home; write the whole path") from None


_ARN = r"arn:aws[a-z-]*:"
_PLACE = r":[a-z0-9-]+:[0-9]{12}:"

AsTuple = BeforeValidator(_tuple)
Text = Annotated[str, StringConstraints(min_length=1)]
LocalPath = Annotated[Path, BeforeValidator(_path, json_schema_input_type=str)]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
LakeName = Annotated[
    str,
    Form(
        r"(?!annotations$)[A-Za-z0-9][A-Za-z0-9._-]{0,127}",
        "1 to 128 of A-Z a-z 0-9 '-' '_' '.', starting with a letter or digit, and not the word 'annotations'",
    ),
]
"""The name of a dataset or annotator. ``names.check_name`` is the rule; a test compares."""
ClassName = Annotated[
    str, Form(r"[^\W\d][\w$]*(?:\.[^\W\d][\w$]*)+", "module.Class, found next to the dataset file or installed")
]
BucketName = Annotated[str, Form(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", "the name of a bucket, without s3:// and /")]
S3Uri = Annotated[str, Form(r"s3://[A-Za-z0-9][A-Za-z0-9._-]+/.+", "s3://bucket/key")]
Region = Annotated[str, Form(r"[A-Za-z0-9-]{1,64}", "the name of a region, such as us-east-1")]
AwsAccount = Annotated[str, Form(r"[0-9]{12}", "the 12 digits of an AWS account, as text")]
RoleArn = Annotated[str, Form(_ARN + r"iam::[0-9]{12}:role/.+", "arn:aws:iam::123456789012:role/NAME")]
KinesisStreamArn = Annotated[
    str, Form(_ARN + "kinesis" + _PLACE + "stream/.+", "arn:aws:kinesis:REGION:123456789012:stream/NAME")
]
TableStreamArn = Annotated[
    str,
    Form(
        _ARN + "dynamodb" + _PLACE + "table/[^/]+/stream/.+",
        "arn:aws:dynamodb:REGION:123456789012:table/NAME/stream/LABEL",
    ),
]
QueueName = Annotated[
    str, Form(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo", "the name of a queue: up to 80 letters, digits, - _")
]
TableName = Annotated[str, Form(r"[A-Za-z0-9_.-]{3,255}", "the name of a table: 3 to 255 letters, digits, _ - .")]
