"""Handlers for sources: one interface per kind of source."""

from __future__ import annotations

from datalake_interfaces.readers.parsers import SingleFileParser

__all__ = ["SingleFileParser"]
