"""Annotating the rows of a view: who is asked what, by whom, within which limits, and what becomes of the answers."""
