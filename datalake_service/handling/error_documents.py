"""The rejection of an error document whose record may lie in several files. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from datalake_interfaces import ErrorDoc
from datalake_service.catalog.rejections import Rejection
from datalake_service.handling.apply import optional_text, understood


def refused(document: ErrorDoc, base: Rejection, *, file_types: tuple[str, ...]) -> Rejection:
    """The rejection of an error document; ``base`` says what the handler left out.

    Args:
        document: What the handler answered.
        base: Place, bytes and message.
        file_types: The files that the record, or the records of the step, came from.
    """
    return replace(
        base,
        start_offset=_own_places(document.error_start_offset_map, file_types) or base.start_offset,
        end_offset=_own_places(document.error_end_offset_map, file_types) or base.end_offset,
        record_type=optional_text(document.record_type) or base.record_type,
        document_id=optional_text(document.document_id),
        document=understood(document),
    )


def _own_places(offsets: object, file_types: tuple[str, ...]) -> str | None:
    """The handler's own offsets, if it gave any that can be used."""
    if not isinstance(offsets, Mapping):
        return None
    known = {kind: offsets[kind] for kind in file_types if isinstance(offsets.get(kind), str | int)}
    if len(offsets) == len(file_types) == 1 and not known:
        known = {kind: offset for kind, offset in offsets.items() if isinstance(offset, str | int)}
    if not known:
        return None
    return places(known, alone=len(file_types) == 1)


def places(offsets: Mapping[str, str | int], *, alone: bool) -> str:
    """Offsets in several files as the manifest writes the files, ``WARC:120|WAT:7``; in one, just the number."""
    if alone:
        return str(next(iter(offsets.values())))
    return "|".join(f"{kind}:{offset}" for kind, offset in sorted(offsets.items()))
