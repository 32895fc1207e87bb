"""What the server refuses and whom it serves."""

from __future__ import annotations

import http.client
import json
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from datalake_service.errors import AccessDeniedError
from datalake_service.mutex import protocol
from datalake_service.mutex.client import Mutex
from datalake_service.mutex.protocol import lock_url
from tests.support.mutex_locks import TTL, mutex
from tests.support.mutex_server import mutex_server


def test_a_token_is_asked_for() -> None:
    """Who has none, or another one, is told which variable; the token itself shows nowhere."""
    with mutex_server(token="right") as url:
        for token in (None, "wrong", "right!"):
            lock = Mutex(url, "a", ttl=TTL, token=token)
            with pytest.raises(AccessDeniedError, match="WSS_MUTEX_TOKEN") as error:
                lock.acquire()
            assert "wrong" not in str(error.value)
        lock = Mutex(url, "a", ttl=TTL, token="right")
        assert lock.acquire()
        lock.release()


@pytest.mark.parametrize(
    "message",
    ["", "garbage", b"\x00\xff", '{"type": "steal"}', "x" * 5_000, "x" * 3_000_000, b"x" * 5_000, '{"type":' * 400],
    ids=["empty", "garbage", "bytes", "unknown", "large", "huge", "large bytes", "deep"],
)
def test_bad_messages_harm_nobody(url: str, name: str, message: str | bytes) -> None:
    """Whoever holds a lock keeps it, and the server goes on."""
    holder = mutex(url, name)
    assert holder.acquire()
    with connect(lock_url(url, name)) as bad:
        assert json.loads(bad.recv(5)) == {"type": "hello_ok"}
        try:
            bad.send(message)
            assert json.loads(bad.recv(5))["type"] == "error"
        except ConnectionClosed:
            assert len(message) > protocol.LONGEST_MESSAGE
    assert not mutex(url, name).acquire()
    holder.renew()
    holder.release()


@pytest.mark.parametrize("waits", [True, False])
def test_clients_of_the_original_are_served(url: str, name: str, waits: bool) -> None:
    """The older wait for the answer to their release, the newer go away at once; some only close."""
    for release in (True, False):
        with connect(lock_url(url, name)) as theirs:
            assert json.loads(theirs.recv(5)) == {"type": "hello_ok"}
            theirs.send('{"type": "hello", "clientId": "5f0c"}')
            theirs.send('{"type": "acquire", "ttlMs": 10000}')
            assert json.loads(theirs.recv(5))["type"] == "granted"
            assert not mutex(url, name).acquire()
            if release:
                theirs.send('{"type": "release"}')
                if waits:
                    assert json.loads(theirs.recv(5)) == {"type": "released"}
        ours = mutex(url, name)
        assert ours.acquire(wait=timedelta(seconds=5))
        ours.release()


def test_pages_in_a_browser_are_not_served(url: str) -> None:
    """A page that somebody looks at could otherwise lock what runs on the same machine."""
    page = Origin("https://example.org")
    with pytest.raises(InvalidStatus, match="403"), connect(lock_url(url, "a"), origin=page):
        pass


def test_other_requests_are_answered_plainly(url: str) -> None:
    """Whoever watches the server asks for its health; anything else is not found."""
    address = urlsplit(url)
    for path, status in (("/healthz", 200), ("/", 404), ("/ws/", 404)):
        connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=5)
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                   "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg=="}  # fmt: skip
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == status
        connection.close()
