"""Rows in each of their forms: JSON lines, Arrow columns, CSV, plain Parquet; and the shape of a merged object."""
