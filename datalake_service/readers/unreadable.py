"""What of an object cannot be read, as rejections."""

from __future__ import annotations

from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.readers.framing import Frame, Oversize
from datalake_service.readers.sniffing import Damage


def too_large(source: str, item: Oversize) -> Rejection:
    """A record beyond the limit, with its first bytes."""
    return Rejection(
        source=source,
        start_offset=str(item.start),
        end_offset=str(item.end),
        kind=RejectionKind.READ,
        message=f"the record is {item.end - item.start} bytes long, more than the limit",
        data=item.head,
    )


def damaged(source: str, damage: Damage, *, fragment: Frame | None, offset: int) -> Rejection:
    """Where an object ends in damage: the record that was open there, or else where the next one was looked for."""
    start, data = fragment if fragment is not None else (offset, None)
    return Rejection(source=source, start_offset=str(start), kind=RejectionKind.READ, message=damage.message, data=data)
