"""What a record of a stream means: its id, its time, what the handler is called with. One class for each service."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any, Final, Protocol

from datalake_service.handling.records import Record
from datalake_service.handling.rows import derived_ids
from datalake_service.pipeline.jobs.stream_inputs import ShardInput
from datalake_service.readers.dynamodb_values import as_json, plain_item

GZIP: Final = b"\x1f\x8b\x08"
"""How gzip data begins. Writers of this framework compress what they put into a Kinesis stream."""
LONGEST: Final = 64 << 20
"""Bytes of a record after decompression: a megabyte of gzip may hold a gigabyte of zeros."""


class UnreadableError(Exception):
    """A record that the handler cannot be given; the text says why."""


class Kind(Protocol):
    """What is different between the two kinds of streams."""

    def sequence(self, raw: Mapping[str, Any]) -> str:
        """The record's sequence number."""
        ...

    def seconds(self, raw: Mapping[str, Any]) -> float:
        """When the record came, since 1970."""
        ...

    def record(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The record for the handler; sequence number and time are asked for before.

        Raises:
            UnreadableError: It cannot be given to the handler; ``unread`` is what a rejection needs.
        """
        ...

    def unread(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The record as it came, without anything for the handler."""
        ...


class KinesisKind:
    """Records of a Kinesis stream."""

    def __init__(self, source: str, shard: ShardInput) -> None:
        """Derive ids from ``source``, the stable name of the shard."""
        self._ids = derived_ids(source)
        self._stream, self._shard = shard.stream, shard.shard

    def sequence(self, raw: Mapping[str, Any]) -> str:
        """The record's sequence number."""
        return str(raw["SequenceNumber"])

    def seconds(self, raw: Mapping[str, Any]) -> float:
        """When the stream took it."""
        return float(raw["ApproximateArrivalTimestamp"].timestamp())

    def record(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The record for the handler; see ``Kind.record``."""
        data = raw["Data"]
        if data.startswith(GZIP):
            data = _decompressed(data)
        arguments = (self._stream, self._shard, raw["PartitionKey"], sequence, int(seconds * 1000), data)
        return Record(f"{self._ids}-{sequence}", sequence, arguments, partial(bytes, data), seconds)

    def unread(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The record as it came."""
        return Record(f"{self._ids}-{sequence}", sequence, (), partial(bytes, raw["Data"]), seconds)


class ChangeKind:
    """Changes of a DynamoDB table."""

    def __init__(self, source: str, shard: ShardInput) -> None:
        """Derive ids from ``source``, the stable name of the shard."""
        self._ids = derived_ids(source)
        self._stream, self._shard = shard.stream, shard.shard

    def sequence(self, raw: Mapping[str, Any]) -> str:
        """The change's sequence number."""
        return str(raw["dynamodb"]["SequenceNumber"])

    def seconds(self, raw: Mapping[str, Any]) -> float:
        """When the change was made."""
        return float(raw["dynamodb"]["ApproximateCreationDateTime"].timestamp())

    def record(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The change for the handler; an image that the view does not hold is ``None``."""
        change, identity = raw["dynamodb"], raw.get("userIdentity") or {}
        old, new = change.get("OldImage"), change.get("NewImage")
        arguments = (
            self._stream,
            self._shard,
            raw.get("eventID"),
            raw.get("eventName"),
            identity.get("PrincipalId"),
            identity.get("Type"),
            sequence,
            int(change.get("SizeBytes", 0)),
            change.get("StreamViewType"),
            int(seconds),
            plain_item(change.get("Keys") or {}),
            None if old is None else plain_item(old),
            None if new is None else plain_item(new),
        )
        return Record(f"{self._ids}-{sequence}", sequence, arguments, partial(_bytes, raw), seconds)

    def unread(self, raw: Mapping[str, Any], sequence: str, seconds: float) -> Record:
        """The change as it came."""
        return Record(f"{self._ids}-{sequence}", sequence, (), partial(_bytes, raw), seconds)


def _bytes(raw: Mapping[str, Any]) -> bytes:
    return as_json(raw).encode("utf-8", "surrogatepass")


def _decompressed(data: bytes) -> bytes:
    """Gzip data of one or several members.

    Raises:
        UnreadableError: It is damaged, or too large.
    """
    parts: list[bytes] = []
    room = LONGEST
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, room))
        except zlib.error as error:
            raise UnreadableError(f"its gzip data is damaged ({error})") from error
        room -= len(parts[-1])
        if not member.eof:
            why = f"holds more than {LONGEST >> 20} MiB" if room <= 0 else "is cut off"
            raise UnreadableError(f"its gzip data {why}")
        data = member.unused_data
    return b"".join(parts)
