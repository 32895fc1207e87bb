"""What the client library of AWS raises, by what it means for a request. Constants only."""

from __future__ import annotations

from typing import Final

from botocore import exceptions as botocore
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

CLIENT_ERRORS: Final = (botocore.BotoCoreError, botocore.ClientError, HTTPError, OSError)
"""Everything that it lets out, also from the middle of a body."""
NO_CREDENTIALS: Final = (
    botocore.CredentialRetrievalError,
    botocore.NoCredentialsError,
    botocore.PartialCredentialsError,
    botocore.ProfileNotFound,
    botocore.TokenRetrievalError,
    botocore.UnauthorizedSSOTokenError,
)
"""There is nobody to send a request as."""
NOT_SENT: Final = (botocore.ConnectTimeoutError, botocore.EndpointConnectionError, botocore.ProxyConnectionError)
"""The request never reached the server."""
BROKEN: Final = (
    botocore.ConnectionError,
    botocore.HTTPClientError,
    botocore.IncompleteReadError,
    botocore.ResponseStreamingError,
    ResponseParserError,
    HTTPError,
    OSError,
)
"""No answer, or half of one: whether the request was applied is not known. Holds those that were never sent."""
