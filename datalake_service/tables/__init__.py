"""Parquet and SQL: the only importer of pyarrow and duckdb."""
