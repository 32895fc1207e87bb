"""Rows of a view for others: files, and folders that other tools take as they are."""
