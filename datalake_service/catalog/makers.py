"""Who made annotations: label, code, and what a person wants to know. See ``docs/design/018-annotation-versions.md``.

Kept in the manifest of a run, for all of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

MAX_BASES: Final = 1_000
"""Batches whose base is noted by a run; the manifest is written again and again."""

VersionKey = tuple[str | None, str | None]
"""Label and code hash."""
MadeKey = tuple[str | None, str | None, int | None]
"""Label, code hash and generation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who makes annotations, and of what."""

    version: str | None = None
    """The label; any text."""
    code: str | None = None
    """Hash of the code and its parameters, 12 hexadecimal digits; ``None``: it has no source."""
    annotator: str | None = None
    """The class or function."""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Without secrets."""
    filter: Mapping[str, Any] | None = None
    """Which rows were selected; ``None``: all."""
    fraction: float = 1.0
    columns: tuple[str, ...] | None = None
    """What was seen of a row."""

    @property
    def key(self) -> VersionKey:
        """What tells versions apart."""
        return self.version, self.code

    def in_words(self) -> str:
        """For messages: ``label 'v2', code 0123456789ab``."""
        label = "no label" if self.version is None else f"label {self.version!r}"
        return f"{label}, {'unknown code' if self.code is None else f'code {self.code}'}"

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "version": self.version,
            "code": self.code,
            "annotator": self.annotator,
            "model": self.model,
            "parameters": dict(self.parameters),
            "filter": None if self.filter is None else dict(self.filter),
            "fraction": self.fraction,
            "columns": None if self.columns is None else list(self.columns),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Maker:
        """Read the JSON form.

        Raises:
            KeyError: Something is missing.
            TypeError: Something is of another type.
        """
        columns = document["columns"]
        return cls(
            version=_text(document["version"]),
            code=_text(document["code"]),
            annotator=document["annotator"],
            model=document["model"],
            parameters=dict(document["parameters"]),
            filter=document["filter"],
            fraction=float(document["fraction"]),
            columns=None if columns is None else tuple(columns),
        )


@dataclass(frozen=True, slots=True)
class RunMaker:
    """The maker of all rows of a run."""

    maker: Maker
    generation: int
    bases: Mapping[str, str] = field(default_factory=dict)
    """ETag of the merged rows of each batch, as they were planned; of the first thousand."""
    software: str | None = None
    """Version of datalake."""

    @property
    def key(self) -> MadeKey:
        """What a merge writes into each of its rows."""
        return *self.maker.key, self.generation

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            **self.maker.to_dict(),
            "generation": self.generation,
            "bases": dict(self.bases),
            "datalake": self.software,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RunMaker:
        """Read the JSON form; raises like ``Maker.from_dict``."""
        return cls(
            Maker.from_dict(document),
            int(document["generation"]),
            dict(document["bases"]),
            document["datalake"],
        )


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


@cache
def software_version() -> str | None:
    """The version of datalake that runs; ``None``: it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("datalake")
    except PackageNotFoundError:
        return None
