"""A DynamoDB table that is scanned: pages of three items, some of them empty, throttled on request."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from datalake_service.aws.clients import AwsClients

PAGE = 3


class MemoryTable(AwsClients):
    """Clients that know one table, with the number ``id`` as its key; scanned in the order of the list."""

    def __init__(self, items: Sequence[dict[str, Any]], *, hidden: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.items = list(items)
        self.hidden = hidden
        """Positions of items that the filter leaves out: they fill pages all the same."""
        self.errors: list[str] = []
        """Codes that the next scans are answered with; an empty one lets a scan through."""

    def client(self, service: str) -> Any:
        """The client; it speaks as the real one does."""
        assert service == "dynamodb"
        meta = SimpleNamespace(region_name="eu-west-1", endpoint_url="http://127.0.0.1")
        return SimpleNamespace(meta=meta, describe_table=self._describe, scan=self._scan)

    def _describe(self, **request: Any) -> dict[str, Any]:
        del request
        return {"Table": {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}]}}

    def _scan(self, **request: Any) -> dict[str, Any]:
        error = self.errors.pop(0) if self.errors else ""
        if error:
            raise ClientError({"Error": {"Code": error, "Message": "as it was told"}}, "Scan")
        segment = [
            (position, item)
            for position, item in enumerate(self.items)
            if position % request["TotalSegments"] == request["Segment"]
        ]
        start = 0
        if "ExclusiveStartKey" in request:
            keys = [item["id"] for _, item in segment]
            start = keys.index(request["ExclusiveStartKey"]["id"]) + 1
        page = segment[start : start + PAGE]
        answer: dict[str, Any] = {"Items": [item for position, item in page if position not in self.hidden]}
        if start + PAGE < len(segment):
            answer["LastEvaluatedKey"] = {"id": page[-1][1]["id"]}
        return answer
