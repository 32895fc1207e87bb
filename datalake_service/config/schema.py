"""The JSON Schema of the dataset file, for editors and for reading: every key, every spelling, what each is for."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic.json_schema import GenerateJsonSchema

from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.section import Section

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """Without what pydantic makes of attribute names: the keys say it already."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """Never."""
        del schema
        return False


def dataset_file_schema() -> dict[str, Any]:
    """JSON Schema of the dataset file, as plain values."""
    schema = DatasetConfig.model_json_schema(by_alias=True, mode="validation", schema_generator=_Generator)
    sections = {section.__name__: section for section in _all_sections(Section)}
    for name, definition in schema["$defs"].items():
        if name in sections:
            _add_descriptions(definition, sections[name])
            _add_spellings(definition, sections[name])
    _add_descriptions(schema, DatasetConfig)
    _drop_null_defaults(schema)
    return {"$schema": DIALECT, **schema, "title": "Dataset file of datalake"}


def schema_text() -> str:
    """The schema as ``datalake schema`` prints it."""
    return json.dumps(dataset_file_schema(), indent=2, ensure_ascii=False)


def _all_sections(section: type[Section]) -> list[type[Section]]:
    return [section, *(found for below in section.__subclasses__() for found in _all_sections(below))]


def _add_descriptions(definition: dict[str, Any], section: type[Section]) -> None:
    """What each key is for, among what pydantic says of it in the order of the alphabet."""
    keys = section.keys()
    for name, text in section.descriptions().items():
        if name in keys:
            first = keys[name][0]
            known = definition["properties"][first]
            definition["properties"][first] = dict(sorted({"description": text, **known}.items()))


def _add_spellings(definition: dict[str, Any], section: type[Section]) -> None:
    """The other keys of a setting: pydantic writes only the first. Exactly one of them may be given."""
    rules: list[dict[str, Any]] = []
    for same in dict.fromkeys(section.keys().values()):
        first, *others = same
        if not others:
            continue
        for other in others:
            known = definition["properties"][first]
            definition["properties"][other] = {**known, "description": f"Another spelling of `{first}`."}
        needed = {"anyOf": [{"required": [key]} for key in same]}
        pairs = [[a, b] for number, a in enumerate(same) for b in same[number + 1 :]]
        rules.append({"not": {"anyOf": [{"required": pair} for pair in pairs]}})
        if first in definition.get("required", []):
            definition["required"].remove(first)
            rules.append(needed)
    if rules:
        definition["allOf"] = rules


def _drop_null_defaults(schema: object) -> None:
    """Null means "not given" everywhere, so it says nothing as a default."""
    if isinstance(schema, dict):
        for key in [key for key, value in schema.items() if value is None]:
            del schema[key]
        for item in schema.values():
            _drop_null_defaults(item)
    elif isinstance(schema, list):
        for item in schema:
            _drop_null_defaults(item)
