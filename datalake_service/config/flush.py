"""``flush``: when the answers of an annotator are stored."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from datalake_service.config.section import PositiveInt, Section


class FlushConfig(Section):
    """Answers are stored when one of these is reached. What is not stored yet is lost by a kill, and paid for again."""

    rows: PositiveInt = 1_000
    """So many of them."""
    bytes: Annotated[int, Field(ge=1)] = 8 << 20
    """So many bytes of them."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """The oldest of them is so old."""
