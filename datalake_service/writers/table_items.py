"""Items of a DynamoDB table, in batches. An item with the same key is replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from datalake_service.aws.service import AwsService
from datalake_service.errors import RowError, StoreError
from datalake_service.writers.content import ITEM_CODES, raise_content
from datalake_service.writers.delivery import ACCEPTED, Again, Answer, Limits, Parcel
from datalake_service.writers.items import AttributeValue, ItemEncoder, size_of
from datalake_service.writers.outgoing import Outgoing

MOST_ITEMS: Final = 25
MOST_BYTES: Final = 400 << 10
"""Of an item."""
LONGEST_KEYS: Final = {"HASH": 2_048, "RANGE": 1_024}
"""Bytes of a partition key and of a sort key."""
_REQUEST_BYTES: Final = (16 << 20) // 6
"""A request has 16 MB at most, as JSON: text may take six times its size there. Small items don't notice."""
_TYPES: Final = {"S": "text", "N": "a number", "B": "bytes"}
_KEY_NAMES: Final = {"HASH": "partition key", "RANGE": "sort key"}


@dataclass(frozen=True, slots=True)
class _Key:
    """One attribute of the primary key."""

    name: str
    role: str
    """``HASH`` or ``RANGE``."""
    type: str
    """``S``, ``N`` or ``B``."""


class TableWriter:
    """Puts items into one table; see ``Writer``."""

    def __init__(self, service: AwsService, table: str, encoder: ItemEncoder) -> None:
        """Write to the table of this name."""
        self._service = service
        self._table = table
        self._encoder = encoder
        self._keys: tuple[_Key, ...] = ()
        self.limits = Limits(MOST_ITEMS, _REQUEST_BYTES)

    def open(self) -> None:
        """Ask for the primary key."""
        answer = self._service.call("describe_table", action="dynamodb:DescribeTable", TableName=self._table)
        described = answer["Table"]
        types = {entry["AttributeName"]: entry["AttributeType"] for entry in described["AttributeDefinitions"]}
        self._keys = tuple(
            _Key(entry["AttributeName"], entry["KeyType"], types[entry["AttributeName"]])
            for entry in described["KeySchema"]
        )

    def pack(self, outgoing: Outgoing) -> Parcel:
        """Make an item of a record. Two records of one key are in one lane: the later one wins."""
        item = self._encoder.encode(outgoing.record)
        for key in self._keys:
            self._check_key(key, item.get(key.name))
        size = size_of(item)
        if size > MOST_BYTES:
            raise RowError(f"an item of {size} bytes; DynamoDB takes {MOST_BYTES}")
        return Parcel(item, size, lane=self._lane(item), tag=outgoing.tag)

    def send(self, parcels: Sequence[Parcel]) -> Sequence[Answer]:
        """Send one batch."""
        requests = [{"PutRequest": {"Item": parcel.content}} for parcel in parcels]
        try:
            answer = self._service.call_once(
                "batch_write_item", action="dynamodb:BatchWriteItem", RequestItems={self._table: requests}
            )
        except StoreError as error:
            raise_content(error, ITEM_CODES)
            raise
        left = {
            self._lane(request["PutRequest"]["Item"])
            for requests in (answer.get("UnprocessedItems") or {}).values()
            for request in requests
        }
        again = Again(f"the table {self._table!r} asks to slow down (UnprocessedItems)")
        return [again if parcel.lane in left else ACCEPTED for parcel in parcels]

    def _check_key(self, key: _Key, value: AttributeValue | None) -> None:
        if value is None or "NULL" in value:
            raise RowError(f"column {key.name!r} is missing; it is the {_KEY_NAMES[key.role]} of {self._table!r}")
        if key.type not in value:
            wanted = _TYPES[key.type]
            raise RowError(f"column {key.name!r} is not {wanted}, as the {_KEY_NAMES[key.role]} of {self._table!r}")
        if key.type == "N":
            return
        content = value[key.type]
        size = len(content.encode() if isinstance(content, str) else content)
        if not size:
            raise RowError(f"column {key.name!r} is empty; it is the {_KEY_NAMES[key.role]} of {self._table!r}")
        if size > LONGEST_KEYS[key.role]:
            limit = LONGEST_KEYS[key.role]
            raise RowError(f"column {key.name!r} has {size} bytes; a {_KEY_NAMES[key.role]} has {limit} at most")

    def _lane(self, item: Mapping[str, AttributeValue]) -> str:
        """The primary key as text: equal keys are equal texts."""
        return json.dumps([_comparable(item[key.name]) for key in self._keys])


def _comparable(value: AttributeValue) -> list[Any]:
    ((kind, content),) = value.items()
    if kind == "B":
        return [kind, bytes(content).hex()]
    if kind == "N":
        sign, digits, exponent = Decimal(content).as_tuple()
        text = "".join(map(str, digits)).lstrip("0")
        return [kind, sign, text.rstrip("0"), int(exponent) + len(text)]
    return [kind, content]
