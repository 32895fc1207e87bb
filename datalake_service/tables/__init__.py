"""Tables: merged Parquet objects, Arrow columns, keys of rows. The only place for pyarrow and DuckDB.

Knows column types and stored objects; nothing of chunks, of handlers, or of when a merge runs.
"""
