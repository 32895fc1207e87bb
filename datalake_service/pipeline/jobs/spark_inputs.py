"""What the user's own Spark programs read and write. Everything here can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from datalake_service.storage.base import ObjectStore

INTERMEDIATE = "intermediate"
"""The folder, below that of the batch, of what mappers wrote for a reducer."""
RESULT = "result"
"""The folder, below that of the batch, of what a reducer wrote."""


class Program(StrEnum):
    """Which of the two."""

    MAPPER = "mapper"
    REDUCER = "reducer"


@dataclass(frozen=True, slots=True)
class SparkFormat:
    """A format with the options of Spark's reader or writer."""

    name: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkProgramInput:
    """One call of a ``SparkMapperInterface`` or a ``SparkReducerInterface``, and everything that it is told."""

    ends: ClassVar[bool] = True
    endless: ClassVar[bool] = False
    program: Program
    reference: str
    """``module.Class``."""
    store: ObjectStore
    """Where the files are."""
    source: str
    """What the dataset file calls that, such as ``S3``."""
    names: tuple[str, ...] = ()
    """The files that it reads; none, if it reads what mappers wrote."""
    after: tuple[str, ...] = ()
    """The tasks of the mappers whose files it reads."""
    reads: SparkFormat
    target: ObjectStore
    """Where files are written."""
    destination: str
    """What the dataset file calls that."""
    folder: str
    """Below the folder of the batch."""
    writes: SparkFormat
    secret: str | None = None
    """The secret with the credentials."""
