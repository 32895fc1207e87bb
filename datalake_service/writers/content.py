"""Error codes that blame a record for the failure of its whole request."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from datalake_service.errors import StoreError
from datalake_service.writers.delivery import ContentError

MESSAGE_CODES: Final = frozenset(
    {
        "AWS.SimpleQueueService.BatchRequestTooLong",
        "BatchRequestTooLong",
        "InvalidMessageContents",
        "InvalidParameterValue",
        "MessageTooLong",
    }
)
"""SQS."""
STREAM_CODES: Final = frozenset({"InvalidArgumentException", "SerializationException", "ValidationException"})
"""Kinesis."""
ITEM_CODES: Final = frozenset({"ItemCollectionSizeLimitExceededException", "ValidationException"})
"""DynamoDB."""


def raise_content(error: StoreError, codes: Collection[str]) -> None:
    """Raise a ``ContentError`` in the place of ``error`` if its code is one of ``codes``.

    Raises:
        ContentError: It is.
    """
    from datalake_service.aws.answers import code_of

    if code_of(error) in codes:
        raise ContentError(str(error)) from error
