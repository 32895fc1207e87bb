"""How often words occur in texts: a mapper counts those of one file, the reducer adds up the counts of all files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datalake_interfaces.readers import SparkMapperInterface, SparkReducerInterface
from datalake_service.spark import read_credentials, read_table, write_table


class CountWords(SparkMapperInterface):
    """Reads a file of text, writes one row for each word."""

    def mapper(  # noqa: PLR0913, PLR0917 - what the interface passes
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
        """Count the words of one file."""
        from pyspark.sql.functions import col, explode, lower, split

        keys = read_credentials(spark_credentials_secret_arn, program="mapper", side="read")
        lines = read_table(read_uri, file_format=read_format, options=read_options, credentials=keys)
        words = lines.select(explode(split(lower(col("value")), "[^a-z]+")).alias("word")).where("word <> ''")
        keys = read_credentials(spark_credentials_secret_arn, program="mapper", side="write")
        write_table(
            words.groupBy("word").count(),
            write_uri,
            file_format=write_format,
            mode=write_mode,
            options=write_options,
            credentials=keys,
        )


class AddUp(SparkReducerInterface):
    """Reads what all mappers wrote, writes one row for each word."""

    def reducer(  # noqa: PLR0913, PLR0917 - what the interface passes
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
        """Add up the counts of all files."""
        from pyspark.sql.functions import sum as add

        keys = read_credentials(spark_credentials_secret_arn, program="reducer", side="read")
        counts = read_table(read_uris, file_format=read_format, options=read_options, credentials=keys)
        total = counts.groupBy("word").agg(add("count").alias("count")).orderBy("word").coalesce(1)
        keys = read_credentials(spark_credentials_secret_arn, program="reducer", side="write")
        write_table(
            total, write_uri, file_format=write_format, mode=write_mode, options=write_options, credentials=keys
        )
