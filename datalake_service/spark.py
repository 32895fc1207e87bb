"""For mappers and reducers: the session of the run, and tables in and out. Needs ``pip install 'datalake[spark]'``.

Importing it loads neither Spark nor Java.
"""

from __future__ import annotations

from datalake_service.engines.spark_tables import read_credentials, read_table, spark_session, write_table

__all__ = ["read_credentials", "read_table", "spark_session", "write_table"]
