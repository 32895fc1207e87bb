"""From a dataset file to a ``DatasetConfig``, or to every mistake in it at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import ValidationError

from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.jsonfile import count, read_json_file
from datalake_service.config.problems import problem_lines
from datalake_service.errors import ConfigError


def load_dataset_file(path: str | Path) -> DatasetConfig:
    """Read and check a dataset file. Paths in it are relative to its folder.

    Raises:
        ConfigError: It cannot be read or is wrong; ``problems`` holds a line for each mistake.
    """
    path = Path(path)
    document = read_json_file(path)
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a JSON object")
    return load_dataset(document, folder=path.absolute().parent, name=str(path))


def load_dataset(document: Mapping[str, Any], *, folder: Path, name: str = "dataset") -> DatasetConfig:
    """Check the JSON of a dataset file that stands in ``folder``; ``name`` is what errors call it.

    Raises:
        ConfigError: It is wrong; ``problems`` holds a line for each mistake.
    """
    try:
        return DatasetConfig.from_document(document, folder=folder)
    except ValidationError as error:
        problems = problem_lines(error)
        raise ConfigError(f"{name}: {count(len(problems), 'problem')}", problems) from None
