"""A Lambda function: asked what it is, and invoked. One request each; who asks decides about repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from datalake_service.aws.service import AwsService
from datalake_service.errors import StoreUnavailableError

if TYPE_CHECKING:
    from datalake_service.aws.clients import AwsClients

MAX_REQUEST_BYTES: Final = 6_000_000
"""What AWS lets a caller send who waits for the answer: 6 MB, see "Lambda quotas"."""
_THROTTLED: Final = frozenset(
    {"TooManyRequestsException", "EC2ThrottledException", "ThrottlingException", "ENILimitReachedException"}
)


class ThrottledError(StoreUnavailableError):
    """As many invocations run as the account or the function allows."""


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """How a function is configured."""

    seconds: int
    """After which an invocation is ended."""
    megabytes: int


@dataclass(frozen=True, slots=True)
class FunctionAnswer:
    """What an invocation ended with."""

    body: bytes
    """JSON."""
    failed: bool
    """Whether the function raised, ran out of time or memory, or could not start; ``body`` says which."""


class LambdaFunction:
    """One function. Thread-safe."""

    def __init__(self, clients: AwsClients, name: str, *, setting: str) -> None:
        """Use the function ``name`` (or its ARN, or ``name:alias``), which ``setting`` of the dataset file names."""
        self.name = name
        self._service = AwsService(clients, "lambda", name=f"the function '{name}'", setting=setting)

    def facts(self) -> FunctionFacts:
        """Ask how it is configured.

        Raises:
            StoreError: It does not exist, or may not be asked; the line says what to change.
        """
        found = self._service.call(
            "get_function_configuration", action="lambda:GetFunctionConfiguration", FunctionName=self.name
        )
        return FunctionFacts(int(found["Timeout"]), int(found["MemorySize"]))

    def invoke(self, request: bytes) -> FunctionAnswer:
        """Invoke it with a JSON text, and wait for its answer.

        Raises:
            ThrottledError: Not now.
            StoreUnavailableError: No answer; the function may have been invoked, and may still be at work.
            StoreError: It does not exist, or may not be invoked; the line says what to change.
        """
        from datalake_service.aws.answers import code_of
        from datalake_service.aws.client_errors import CLIENT_ERRORS

        try:
            answer: dict[str, Any] = self._service.call_once(
                "invoke",
                action="lambda:InvokeFunction",
                FunctionName=self.name,
                InvocationType="RequestResponse",
                Payload=request,
            )
            return FunctionAnswer(answer["Payload"].read(), "FunctionError" in answer)
        except StoreUnavailableError as error:
            if code_of(error) in _THROTTLED:
                raise ThrottledError(str(error)) from error
            raise
        except CLIENT_ERRORS as error:  # in the middle of the answer
            raise StoreUnavailableError(f"the answer of the function '{self.name}' broke off") from error
