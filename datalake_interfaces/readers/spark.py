"""Handlers that are given to Spark: they read and write by themselves, file by file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence


class SparkMapperInterface(ABC):
    """Reads one file with Spark and writes what it makes of it.

    Guarantees:
        ``mapper`` runs **at least once** for each file. It has no checkpoint: a call that fails is made again from the
        beginning, and overwrites what it wrote.
    """

    @abstractmethod
    def mapper(  # noqa: PLR0913, PLR0917 - what the original passes
        self,
        app_name: str,
        read_destination: str,
        read_uri: str,
        read_format: str,
        read_options: Mapping[str, str],
        write_destination: str,
        write_uri: str,
        write_format: str,
        write_mode: str,
        write_options: Mapping[str, str],
        spark_credentials_secret_arn: str | None,
    ) -> None:
        """Read ``read_uri`` and write ``write_uri``."""


class SparkReducerInterface(ABC):
    """Reads all that the mappers wrote and writes the result.

    Guarantees:
        ``reducer`` runs **at least once**, after every mapper. A call that fails is made again from the beginning, and
        overwrites what it wrote.
    """

    @abstractmethod
    def reducer(  # noqa: PLR0913, PLR0917 - what the original passes
        self,
        app_name: str,
        read_destination: str,
        read_uris: Sequence[str],
        read_format: str,
        read_options: Mapping[str, str],
        write_destination: str,
        write_uri: str,
        write_format: str,
        write_mode: str,
        write_options: Mapping[str, str],
        spark_credentials_secret_arn: str | None,
    ) -> None:
        """Read all of ``read_uris`` and write ``write_uri``."""
