"""Changes of a table of tickets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalake_interfaces import Document, DynamoDBStreamsRecordReader, ErrorDoc, SkipDoc


class StageReader(DynamoDBStreamsRecordReader):
    """One document for each step of a ticket from one stage to the next."""

    def parse_record(  # noqa: PLR0913, PLR0917 - what a change consists of
        self,
        stream_arn: str,
        shard_id: str,
        event_id: str,
        event_name: str,
        identity_principal_id: str | None,
        identity_type: str | None,
        sequence_number: str,
        size_bytes: int,
        stream_view_type: str,
        approximate_creation_date_time: int,
        keys: Mapping[str, Any],
        old_image: Mapping[str, Any] | None,
        new_image: Mapping[str, Any] | None,
    ) -> Document | ErrorDoc | SkipDoc:
        """Make a document of a change, unless the stage is what it was."""
        before = None if old_image is None else old_image["stage"]
        after = None if new_image is None else new_image["stage"]
        if before == after:
            return SkipDoc(skip_message="the stage is what it was")
        image = old_image if new_image is None else new_image
        return Document(
            {"ticket": keys["ticket"], "title": (image or {})["title"], "from": before, "to": after},
            record_type=event_name.lower(),
        )
