"""What an annotation row says about the row that it belongs to. See ``docs/design/001-lake-format.md``."""

from __future__ import annotations

from typing import Final

DONE: Final = "done"
SKIPPED: Final = "skipped"
FAILED: Final = "failed"
STATUSES: Final = (DONE, SKIPPED, FAILED)
FINAL_STATUSES: Final = frozenset({DONE, SKIPPED})
"""A row with one of these is never asked again."""

VERSION, CODE, GENERATION, ATTEMPTS = "_version", "_code", "_generation", "_attempts"
KIND, SECONDS, COST, INPUT_TOKENS, OUTPUT_TOKENS = "_kind", "_seconds", "_cost", "_input_tokens", "_output_tokens"

ANNOTATION_COLUMNS: Final = (
    "_batch",
    "_status",
    "_error",
    "_metadata",
    "_annotated_at",
    KIND,
    VERSION,
    CODE,
    GENERATION,
    ATTEMPTS,
    SECONDS,
    COST,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
)
"""System columns of an annotation row, beside ``id``; no other name of an annotator's column begins like them.
What they say: ``docs/design/018-annotation-versions.md``. From ``_kind`` on, rows of before have none of them."""
