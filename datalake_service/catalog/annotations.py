"""What an annotation row says about the row that it belongs to. See ``docs/design/001-lake-format.md``."""

from __future__ import annotations

from typing import Final

DONE: Final = "done"
SKIPPED: Final = "skipped"
FAILED: Final = "failed"
STATUSES: Final = (DONE, SKIPPED, FAILED)
FINAL_STATUSES: Final = frozenset({DONE, SKIPPED})
"""A row with one of these is never asked again."""

ANNOTATION_COLUMNS: Final = ("_batch", "_status", "_error", "_metadata", "_annotated_at")
"""System columns of an annotation row, beside ``id``; no other name of an annotator's column begins like them."""
