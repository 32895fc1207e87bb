"""Merged objects read and written block by block, without a database."""
