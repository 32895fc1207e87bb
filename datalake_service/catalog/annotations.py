"""What an annotation row says about the row that it belongs to. See ``docs/design/001-lake-format.md``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DONE: Final = "done"
SKIPPED: Final = "skipped"
FAILED: Final = "failed"
STATUSES: Final = (DONE, SKIPPED, FAILED)
FINAL_STATUSES: Final = frozenset({DONE, SKIPPED})
"""A row with one of these is never asked again."""

STATUS: Final = "_status"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneRule:
    """Which annotations make a row done: by default every final one."""

    by_label: bool = False
    """Only those made under ``label``."""
    label: str | None = None
    by_code: bool = False
    """Only those made by ``code``."""
    code: str | None = None
    since: int = 0
    """Only those of this generation, or a newer one."""
    skipped_since: int = 0
    """Of what was skipped, only that of this generation, or a newer one."""
    failed_since: int | None = None
    """Failures of this generation, or a newer one, count as well: their rows were asked. ``None``: none do."""

    def takes_version(self, version: str | None, code: str | None) -> bool:
        """Whether annotations, and failures, of this version count."""
        return not ((self.by_label and version != self.label) or (self.by_code and code != self.code))

    def is_done(self, status: str, generation: int) -> bool:
        """Whether an annotation of a version that counts makes its row done."""
        if status == SKIPPED:
            return generation >= max(self.since, self.skipped_since)
        if status == FAILED:
            return self.failed_since is not None and generation >= self.failed_since
        return status == DONE and generation >= self.since

    @property
    def name(self) -> str:
        """Differs from those of other rules; stable."""
        since = f"{self.since},{self.skipped_since},{self.failed_since}"
        return f"{self.by_label}{self.label!r}{self.by_code}{self.code!r}{since}"


ANY_DONE: Final = DoneRule()
