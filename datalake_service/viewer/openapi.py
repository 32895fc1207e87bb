"""The description of the API, made from the models of its queries and the shapes of its answers."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from datalake_service.config.version import VERSION
from datalake_service.viewer import queries, shapes, shapes_operations
from datalake_service.viewer.exporting import MEDIA
from datalake_service.viewer.routes import ROUTES

_REF: Final = "#/components/schemas/{model}"
_ERRORS: Final = {
    "400": "A parameter cannot be used.",
    "401": "The token is missing.",
    "403": "The request comes from somewhere else.",
    "404": "There is no such thing.",
    "409": "Nothing is merged yet.",
    "422": "It takes too long, or too much memory.",
    "503": "The store does not answer, or others are exporting.",
}
_DATASET: Final = "/api/datasets/{dataset}"
_FILES: Final = tuple(kind.partition(";")[0] for kind in MEDIA.values())
_OTHERS: Final[tuple[tuple[str, str, type[queries.Query], tuple[str, ...]], ...]] = (
    (f"{_DATASET}/cell", "One value, whole", queries.CellQuery, ("text/plain",)),
    (f"{_DATASET}/export", "What is on the screen, as a file", queries.ExportQuery, _FILES),
    ("/api/events", "News, for as long as somebody listens", queries.EventsQuery, ("text/event-stream",)),
)
"""What answers no JSON."""


@cache
def describe() -> dict[str, Any]:
    """OpenAPI 3.1."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        paths[route.path] = {
            "get": _operation(route.summary, route.query, _json(route.shape, schemas), schemas, path=route.path)
        }
    for path, summary, query, kinds in _OTHERS:
        content = {kind: {"schema": {"type": "string"}} for kind in kinds}
        paths[path] = {"get": _operation(summary, query, content, schemas, path=path)}
    paths["/api/filters"] = {"post": _filters(schemas)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "datalake viewer", "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(
    summary: str, query: type[queries.Query] | None, content: dict[str, Any], schemas: dict[str, Any], *, path: str
) -> dict[str, Any]:
    parameters = []
    if "{dataset}" in path:
        parameters.append({"name": "dataset", "in": "path", "required": True, "schema": {"type": "string"}})
    if query is not None:
        parameters += _parameters(query)
    problem = _json(shapes.ProblemAnswer, schemas)
    return {
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": summary, "content": content},
            **{status: {"description": why, "content": problem} for status, why in _ERRORS.items()},
        },
    }


def _parameters(query: type[queries.Query]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    found = []
    for name, field in schema.get("properties", {}).items():
        shape = {key: value for key, value in field.items() if key not in ("title", "description")}
        if "anyOf" in shape:  # in an address a parameter is missing, never null
            (shape,) = (one for one in shape["anyOf"] if one != {"type": "null"})
        shape.pop("default", None)
        entry = {"name": name, "in": "query", "required": name in required, "schema": shape}
        found.append(entry | ({"description": field["description"]} if "description" in field else {}))
    return found


def _json(shape: type, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = TypeAdapter(shape).json_schema(ref_template=_REF, mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    name = schema.get("title", "Answer")
    schemas[name] = schema
    return {"application/json": {"schema": {"$ref": _REF.format(model=name)}}}


def _filters(schemas: dict[str, Any]) -> dict[str, Any]:
    operation = _operation(
        "A filter in all its forms", None, _json(shapes_operations.FilterAnswer, schemas), schemas, path=""
    )
    forms = [
        {"type": "object", "properties": {name: shape}, "required": [name], "additionalProperties": False}
        for name, shape in (("json", {}), ("python", {"type": "string"}), ("sql", {"type": "string"}))
    ]
    return {
        **operation,
        "requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": forms}}}},
    }
