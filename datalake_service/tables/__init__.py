"""Tables: merged Parquet objects, Arrow columns, keys of rows. The only place for pyarrow and DuckDB.

Knows column types and stored objects; nothing of chunks, of handlers, or of when a merge runs. Its rooms stand on one
another, as ``pyproject.toml`` says: what merges need (``formats``, ``verdicts``, ``objects``) does without a database;
``database`` and ``filters`` are below ``queries`` of one batch, and these below ``live``, questions about many.
"""
