from __future__ import annotations

import enum
from typing import ClassVar

import pytest

from datalake_utils.docstrings import attribute_docstrings


class Base:
    """A class."""

    first: int
    """What it is.

    More of it.
    """
    second: str = "x"
    """Another."""
    third: int
    fourth: ClassVar[int] = 4
    """The fourth."""

    def method(self) -> int:
        """Of a method."""
        return self.first


class Below(Base):
    fifth: int
    """Its own."""


def test_the_text_below_an_attribute_is_its_description() -> None:
    """Its own only: neither of the class, of a method, nor of a base."""
    assert attribute_docstrings(Base) == {
        "first": "What it is.\n\nMore of it.",
        "second": "Another.",
        "fourth": "The fourth.",
    }
    assert attribute_docstrings(Below) == {"fifth": "Its own."}


def test_a_class_within_a_function_is_read_as_well() -> None:
    """Its source is indented."""

    class Inner:
        one: int
        """First."""

    assert attribute_docstrings(Inner) == {"one": "First."}


def test_a_class_without_source_is_an_error() -> None:
    """Nothing is described by mistake."""
    with pytest.raises((OSError, TypeError)):
        attribute_docstrings(enum.Enum("Made", ["A"]))  # type: ignore[arg-type]  # wrong on purpose
