"""Chunks to one Parquet object per batch, of rows and of annotations."""
