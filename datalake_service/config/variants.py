"""Sections that come in variants: which class reads one is told by the value of one of its keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, ValidationError, core_schema

from datalake_service.config.choice import Choice, choice_schema
from datalake_service.config.faults import absent, unknown, wrong
from datalake_service.config.section import Section

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo, ValidatorFunctionWrapHandler
    from pydantic.json_schema import JsonSchemaValue


@dataclass(frozen=True, slots=True)
class Only:
    """Metadata of a field whose type is a choice: in this variant only ``members`` are possible."""

    members: tuple[Choice, ...]

    def check(self, value: Choice) -> Choice:
        """Return ``value`` if this variant has it.

        Raises:
            PydanticCustomError: It belongs to another variant.
        """
        if value not in self.members:
            raise wrong(f"allowed here: {', '.join(self.members)}")
        return value

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check after the choice was read."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Only the spellings of these members."""
        return choice_schema(self.members)


@dataclass(frozen=True, slots=True)
class VariantBy:
    """Metadata of a field whose type is a union of sections: ``key`` holds a ``choice`` that tells which.

    A union of pydantic's own would try every variant, or name the variant in the path of each error.
    """

    key: str
    choice: type[Choice]
    variants: Mapping[Choice, type[Section]]
    guess: Callable[[dict[str, Any]], type[Section] | None] | None = None
    """Told by the other keys where ``key`` is missing; ``None``: it has to be there."""

    def read(self, value: object, _next: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        """Validate ``value`` as the variant that it names.

        Raises:
            ValidationError: The mistakes of the section, relative to it.
        """
        if isinstance(value, Section):
            return value
        return self.variant_of(value).model_validate(value, context=info.context)

    def variant_of(self, value: object) -> type[Section]:
        """The class for ``value``.

        Raises:
            PydanticCustomError: Not an object.
            ValidationError: The key is missing or wrong, and which other keys no variant knows.
        """
        if not isinstance(value, dict):
            raise PydanticCustomError("model_type", "allowed: an object")
        found = value.get(self.key)
        guessed = self.guess(value) if found is None and self.guess else None
        if guessed is not None:
            return guessed
        try:
            if found is None:
                raise absent(f"allowed: {', '.join(self.choice)}")
            return self.variants[self.choice.read(found)]
        except PydanticCustomError as error:
            known = {key for variant in self.variants.values() for same in variant.keys().values() for key in same}
            details = [InitErrorDetails(type=error, loc=(self.key,), input=found)]
            details += [
                InitErrorDetails(type=unknown(key, known), loc=(key,), input=None) for key in value if key not in known
            ]
            raise ValidationError.from_exception_data(self.key, details) from None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Choose before the union does."""
        return core_schema.with_info_wrap_validator_function(self.read, handler(source))
