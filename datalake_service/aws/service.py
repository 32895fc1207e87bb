"""Requests to one AWS service about one resource: repeated within bounds, their errors ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datalake_service.errors import StoreUnavailableError
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, SystemClock

if TYPE_CHECKING:
    from datalake_service.aws.answers import Resource, Site
    from datalake_service.aws.clients import AwsClients

ATTEMPTS = 4
"""How often a request is sent that gets no answer, or that the service has no room for: about a second in all."""
_BACKOFF = Backoff(first=0.1, longest=2.0)


class AwsService:
    """One service, used for one resource. Thread-safe. The libraries are loaded by the first request."""

    def __init__(
        self, clients: AwsClients, service: str, *, name: str, setting: str, clock: Clock | None = None
    ) -> None:
        """Send requests to ``service`` about the resource ``name`` (with its kind), which ``setting`` names."""
        self._clients = clients
        self._service = service
        self._name = name
        self._setting = setting
        self._clock = clock or SystemClock()

    @property
    def resource(self) -> Resource:
        """What requests are about."""
        from datalake_service.aws.answers import Resource

        return Resource(self._name, self._setting)

    @property
    def site(self) -> Site:
        """Where the service is.

        Raises:
            StoreError: The configuration of AWS cannot work.
        """
        from datalake_service.aws.answers import site_of

        meta = self._clients.client(self._service).meta
        return site_of(meta.region_name, meta.endpoint_url)

    def call(self, operation: str, *, action: str, attempts: int = ATTEMPTS, **parameters: object) -> dict[str, Any]:
        """Send a request and return the answer.

        It is sent again while the service does not answer or asks to slow down, so it may be applied more than once.

        Args:
            operation: A method of the client, such as ``receive_message``.
            action: The permission that it needs, for messages.
            attempts: How often it is sent at most.
            parameters: Of the request.

        Raises:
            StoreUnavailableError: No answer, or no room, however often it was sent.
            ObjectNotFoundError: The resource does not exist.
            AccessDeniedError: Credentials are missing or do not allow it.
            StoreError: Anything else; ``answers.code_of`` tells the service's code.
        """
        failures = 0
        while True:
            try:
                return self.call_once(operation, action=action, **parameters)
            except StoreUnavailableError:
                failures += 1
                if failures >= attempts:
                    raise
                self._clock.sleep(_BACKOFF.seconds(failures))

    def call_once(self, operation: str, *, action: str, **parameters: object) -> dict[str, Any]:
        """Send a request once; see ``call``."""
        from datalake_service.aws.answers import translate
        from datalake_service.aws.client_errors import CLIENT_ERRORS

        method: Callable[..., dict[str, Any]] = getattr(self._clients.client(self._service), operation)
        try:
            return method(**parameters)
        except CLIENT_ERRORS as error:
            raise translate(error, self.resource, self.site, action=action) from error
