"""One DynamoDB table, scanned in segments. Knows nothing of handlers or rows.

A scan may go on behind any item, named by its primary key: no state is kept but that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datalake_service.aws.clients import AwsClients
from datalake_service.aws.service import AwsService
from datalake_utils.clock import Clock

Item = Mapping[str, Mapping[str, Any]]
"""An item, or its primary key, in typed values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFilter:
    """Only items for which an expression holds. DynamoDB reads, and bills, the others as well."""

    expression: str
    names: Mapping[str, str] = field(default_factory=dict)
    values: Item = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """As a request has them; it must not have any that is empty."""
        optional = {"ExpressionAttributeNames": dict(self.names), "ExpressionAttributeValues": dict(self.values)}
        return {"FilterExpression": self.expression} | {name: value for name, value in optional.items() if value}


@dataclass(frozen=True, slots=True)
class ScanPage:
    """The answer to one request."""

    items: Sequence[Item]
    following: Item | None
    """Where the scan goes on; ``None``: this was the end of the segment."""


class Table:
    """A table that exists. Thread-safe."""

    def __init__(self, service: AwsService, name: str, key: tuple[str, ...]) -> None:
        """Use ``open_table``."""
        self._service = service
        self.name = name
        self.key = key
        """The names of the attributes of the primary key."""

    def scan(self, *, segment: int, segments: int, behind: Item | None, only: ScanFilter | None) -> ScanPage:
        """Read a page of a segment, up to 1 MB of it; it may be empty and not the last.

        Raises:
            StoreUnavailableError: DynamoDB does not answer, or asks to slow down.
            StoreError: It never will.
        """
        optional: dict[str, Any] = {} if behind is None else {"ExclusiveStartKey": dict(behind)}
        if only is not None:
            optional |= only.parameters()
        answer = self._service.call(
            "scan",
            action="dynamodb:Scan",
            TableName=self.name,
            Segment=segment,
            TotalSegments=segments,
            **optional,
        )
        return ScanPage(answer.get("Items", ()), answer.get("LastEvaluatedKey") or None)

    def key_of(self, item: Item) -> dict[str, Any]:
        """The primary key of an item."""
        return {name: item[name] for name in self.key}


def open_table(clients: AwsClients, name: str, *, clock: Clock) -> Table:
    """Find a table.

    Raises:
        ObjectNotFoundError: There is no such table.
        StoreError: It cannot be asked for.
    """
    service = AwsService(
        clients, "dynamodb", name=f"the table {name!r}", setting="readConnector.tableName", clock=clock
    )
    found = service.call("describe_table", action="dynamodb:DescribeTable", TableName=name)["Table"]
    return Table(service, name, tuple(part["AttributeName"] for part in found["KeySchema"]))
