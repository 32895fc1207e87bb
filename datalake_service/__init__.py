"""Create and annotate text-heavy datasets on object storage.

``S3DataTool`` is the way in. Names are loaded when they are first asked for, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module  # noqa: TID251 - of modules named here, nobody else's
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datalake_interfaces.annotators import Annotation, DataItem
    from datalake_service.annotating.limits import Limit
    from datalake_service.annotating.policy import CallPolicy
    from datalake_service.annotating.usage import Budget
    from datalake_service.catalog.s3_lock import S3Lock
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
    from datalake_service.pipeline.exports.export import export_file, export_object
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
    "export_file",
    "export_object",
]


_PLACES = {
    "Annotation": "datalake_interfaces.annotators",
    "AnnotationLockError": "datalake_service.errors",
    "Budget": "datalake_service.annotating.usage",
    "BudgetExceededError": "datalake_service.errors",
    "CallPolicy": "datalake_service.annotating.policy",
    "DataItem": "datalake_interfaces.annotators",
    "DatasetNotMergedError": "datalake_service.errors",
    "FilterNode": "datalake_service.config.filters",
    "Limit": "datalake_service.annotating.limits",
    "S3DataTool": "datalake_service.tool",
    "S3Lock": "datalake_service.catalog.s3_lock",
    "StreamingConfigs": "datalake_service.config.streaming",
    "WSSMutex": "datalake_service.mutex.lock",
    "export_file": "datalake_service.pipeline.exports.export",
    "export_object": "datalake_service.pipeline.exports.export",
}
"""Where public names are, those of filters aside."""


def __getattr__(name: str) -> object:
    """Load a public name."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "datalake_service.config.filters")), name)


def __dir__() -> list[str]:
    """Offer the public names."""
    return sorted({*globals(), *__all__})
