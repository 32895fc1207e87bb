"""How rows are cut into chunks, as a Python program says it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field


class StreamingConfigs(BaseModel):
    """How a stream of rows is stored."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    chunk_size: int = Field(default=100, ge=1, strict=True)
    """Rows in a chunk: what is made durable at once. A crash loses at most the rows of the chunk being filled."""
