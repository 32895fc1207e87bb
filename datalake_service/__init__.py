"""Create and annotate text-heavy datasets on object storage.

``S3DataTool`` is the way in. Names are loaded when they are first asked for, so that importing the package is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datalake_interfaces.annotators import Annotation, DataItem
    from datalake_service.annotating.limits import Limit
    from datalake_service.annotating.policy import CallPolicy
    from datalake_service.annotating.usage import Budget
    from datalake_service.catalog.leases import S3Lock
    from datalake_service.config.filters import (
        AllFilter,
        AnyFilter,
        BooleanFilter,
        ContainsFilter,
        EqualsFilter,
        FilterNode,
        InFilter,
        NotEqualsFilter,
        NotFilter,
        NullFilter,
        RangeFilter,
        RawDuckFilter,
        RegexFilter,
        StartsWithFilter,
    )
    from datalake_service.config.streaming import StreamingConfigs
    from datalake_service.errors import AnnotationLockError, BudgetExceededError, DatasetNotMergedError
    from datalake_service.mutex.lock import WSSMutex
    from datalake_service.tool import S3DataTool

__all__ = [
    "AllFilter",
    "Annotation",
    "AnnotationLockError",
    "AnyFilter",
    "BooleanFilter",
    "Budget",
    "BudgetExceededError",
    "CallPolicy",
    "ContainsFilter",
    "DataItem",
    "DatasetNotMergedError",
    "EqualsFilter",
    "FilterNode",
    "InFilter",
    "Limit",
    "NotEqualsFilter",
    "NotFilter",
    "NullFilter",
    "RangeFilter",
    "RawDuckFilter",
    "RegexFilter",
    "S3DataTool",
    "S3Lock",
    "StartsWithFilter",
    "StreamingConfigs",
    "WSSMutex",
]


def __getattr__(name: str) -> object:  # noqa: C901, PLR0911 - one for each module
    """Load a public name."""
    match name:
        case _ if name in __all__ and name.endswith(("Filter", "FilterNode")):
            from datalake_service.config import filters

            return getattr(filters, name)
        case "Annotation" | "DataItem":
            from datalake_interfaces import annotators

            return getattr(annotators, name)
        case "AnnotationLockError" | "BudgetExceededError" | "DatasetNotMergedError":
            from datalake_service import errors

            return getattr(errors, name)
        case "Budget":
            from datalake_service.annotating import usage

            return usage.Budget
        case "CallPolicy":
            from datalake_service.annotating import policy

            return policy.CallPolicy
        case "Limit":
            from datalake_service.annotating import limits

            return limits.Limit
        case "S3DataTool":
            from datalake_service import tool

            return tool.S3DataTool
        case "S3Lock":
            from datalake_service.catalog import leases

            return leases.S3Lock
        case "WSSMutex":
            from datalake_service.mutex import lock

            return lock.WSSMutex
        case "StreamingConfigs":
            from datalake_service.config import streaming

            return streaming.StreamingConfigs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Offer the public names."""
    return sorted({*globals(), *__all__})
