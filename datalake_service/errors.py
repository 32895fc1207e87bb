"""The error tree: every error a user can meet, grouped by what its reader does next.

    DatalakeError                      exit status 1
    ├── UsageError                     change the call, the file or the command (exit status 2)
    │   ├── ConfigError                … the dataset file or the environment
    │   ├── NameNotAllowedError        … a dataset, batch or annotator name (also a ValueError)
    │   ├── RowError                   … a row that cannot be stored (also a ValueError)
    │   ├── FilterError                … a filter (also a ValueError)
    │   ├── HandlerLoadError           … the handler class that could not be loaded
    │   ├── DatasetNotFoundError       … the name, or create the dataset first
    │   └── DatasetNotMergedError      … run a merge (`datalake clean-up`) first
    ├── LimitExceededError             look at the rejections; a limit of the dataset file was passed
    │   └── BudgetExceededError        … what may be spent is spent; finished rows are safe
    ├── AnnotationLockError            wait for the other worker, or break its lease
    ├── LeaseLostError                 start again; finished rows are safe
    ├── MergeError                     look at the batch; nothing was replaced
    └── StoreError                     look at the object store
        ├── ObjectNotFoundError        … the key does not exist (also a KeyError)
        ├── AlreadyExistsError         … create-if-absent lost: somebody else's object stands there
        ├── PreconditionFailedError    … replace-if-ETag lost: the object changed since it was read
        ├── AccessDeniedError          … permissions
        │   └── NotAuthenticatedError  … keys, session or the clock of this machine
        ├── NotSupportedError          … it does not know this kind of request: take another store
        ├── StoreUnavailableError      … retry later: the store did not answer or asked to slow down
        └── OutcomeUnknownError        … a write may or may not have been applied; never delete after it

Every error has a stable ``kind`` (its JSON name), survives pickling (it crosses process borders) and
prints as one line that says what to change.
"""

from __future__ import annotations

from typing import ClassVar


class DatalakeError(Exception):
    """Anything the project reports to its user. ``str()`` is one line."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1


class UsageError(DatalakeError):
    """The caller asked for something that cannot work; nothing was changed."""

    kind = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """A dataset file or the environment is wrong; ``problems`` holds one line for each mistake."""

    kind = "config"

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        """Keep ``message`` (what was loaded) apart from ``problems`` (each with its JSON path)."""
        super().__init__(message, problems)
        self.message = message
        self.problems = problems

    def __str__(self) -> str:
        """Show the message, then one indented line per problem."""
        return "\n".join([self.message, *(f"  {line}" for line in self.problems)])


class NameNotAllowedError(UsageError, ValueError):
    """A dataset, batch or annotator name that is not portable."""

    kind = "name"


class RowError(UsageError, ValueError):
    """A row that cannot be stored; the message names the column. Rows before it are safe."""

    kind = "row"


class FilterError(UsageError, ValueError):
    """A filter that cannot be compiled or that the SQL engine refused."""

    kind = "filter"


class HandlerLoadError(UsageError):
    """The user's handler class could not be loaded."""

    kind = "handler"


class DatasetNotFoundError(UsageError):
    """No such dataset in the lake."""

    kind = "dataset_not_found"


class DatasetNotMergedError(UsageError):
    """A view was asked of a dataset that has no merged batch yet."""

    kind = "dataset_not_merged"


class LimitExceededError(DatalakeError):
    """More rows or records failed than the policy allows."""

    kind = "limit_exceeded"


class BudgetExceededError(LimitExceededError):
    """A run has used up its budget; rows that are not done were not asked."""

    kind = "budget_exceeded"


class AnnotationLockError(DatalakeError):
    """A live worker holds the lease of this annotator."""

    kind = "annotation_lock"


class LeaseLostError(DatalakeError):
    """The lease could not be renewed in time; work was stopped before it ran out."""

    kind = "lease_lost"


class MergeError(DatalakeError):
    """A batch could not be merged; its objects were left as they were."""

    kind = "merge"


class StoreError(DatalakeError):
    """The object store refused or failed."""

    kind = "store"


class ObjectNotFoundError(StoreError, KeyError):
    """No object has this key."""

    kind = "not_found"

    def __str__(self) -> str:
        """Print the message plainly (``KeyError`` would quote it)."""
        return str(self.args[0]) if self.args else ""


class AlreadyExistsError(StoreError):
    """Create-if-absent found an object that another writer put there."""

    kind = "already_exists"


class PreconditionFailedError(StoreError):
    """Replace-if-ETag, or a read pinned to an ETag, found another version."""

    kind = "precondition_failed"


class AccessDeniedError(StoreError):
    """Credentials are missing or wrong, or do not allow this operation."""

    kind = "access_denied"


class NotAuthenticatedError(AccessDeniedError):
    """The store does not accept who is asking: keys, session token, or the time that the request was signed with."""

    kind = "not_authenticated"


class NotSupportedError(StoreError):
    """The store does not know this kind of request, for instance a conditional write; nothing was applied."""

    kind = "not_supported"


class StoreUnavailableError(StoreError):
    """The store did not answer or asked to slow down; the operation was not applied or is safe to repeat."""

    kind = "unavailable"


class OutcomeUnknownError(StoreError):
    """A write may or may not have been applied and reading back did not settle it."""

    kind = "outcome_unknown"
