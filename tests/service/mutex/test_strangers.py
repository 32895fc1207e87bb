"""Servers that are no mutex, and addresses and names that cannot be one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from websockets.sync.server import ServerConnection, serve

from datalake_service import WSSMutex
from datalake_service.errors import ConfigError, StoreError
from datalake_service.mutex import client as client_module
from datalake_service.mutex import wire
from tests.support.mutex_locks import mutex
from tests.support.mutex_server import mutex_server


@contextmanager
def listener(reply: bytes | None) -> Iterator[str]:
    """A server that answers every connection with the same bytes, or never."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            kept = []
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    break
                kept.append(connection)
                if reply is not None:
                    connection.recv(65_536)
                    connection.sendall(reply)
                    connection.close()
            for connection in kept:
                connection.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def refused(url: str, name: str) -> str:
    """The one line that says why nothing can be locked there."""
    with pytest.raises(StoreError) as error:
        mutex(url, name).acquire()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_nobody_listens(name: str) -> None:
    """The line names the address, the variable and the command."""
    with mutex_server() as url:
        pass
    said = refused(url, name)
    assert f"cannot reach the mutex {url} (Connection refused); check WSS_MUTEX_BASE_URL" in said
    assert "datalake mutex serve" in said


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "answers 404; it is not the address of a mutex"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "answers 200; it is not the address of a mutex"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "cannot reach the mutex"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot reach the mutex"),
        (b"", "cannot reach the mutex"),
    ],
)
def test_something_else_listens(name: str, reply: bytes, said: str) -> None:
    """It is told apart from a server that is away."""
    with listener(reply) as url:
        assert said in refused(url, name)


def test_a_server_that_says_nothing_is_not_waited_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while connecting nor after it."""
    monkeypatch.setattr(wire, "_OPEN", 0.2)
    with listener(None) as url:
        assert "(no answer)" in refused(url, name)
    monkeypatch.setattr(wire, "ANSWER", 0.2)
    monkeypatch.setattr(client_module, "ANSWER", 0.2)
    for messages in ((), ('{"type": "hello_ok"}',)):
        with websocket_server(*messages) as url:
            assert "did not answer within" in refused(url, name)


@contextmanager
def websocket_server(*messages: str) -> Iterator[str]:
    """A WebSocket server that says something at first, and then nothing."""

    def handle(connection: ServerConnection) -> None:
        for message in messages:
            connection.send(message)
        for _ in connection:
            pass

    with serve(handle, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("message", ["", "hello", "[]", '{"type": "news"}', '{"type": "granted"}'])
def test_a_websocket_of_something_else_is_no_mutex(name: str, message: str) -> None:
    """What it says is not taken for an answer."""
    with websocket_server(message) as url:
        assert "does not answer like a mutex" in refused(url, name)


@pytest.mark.parametrize(
    "url", ["http://host", "host:1", "ws://", "ws://host:port", "ws://user:secret@host", "ws://host?x", "ws://[::1"]
)
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    """Without asking anybody, and without showing a password."""
    with pytest.raises(ConfigError, match="the address of the mutex: ") as error:
        WSSMutex(url, "a")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("name", ["", ".", "..", "x" * 1_537])
def test_a_name_that_cannot_be_one_is_refused_at_once(name: str) -> None:
    """Paths of URLs have their own ideas about dots."""
    with pytest.raises(ValueError, match="name"):
        WSSMutex("ws://127.0.0.1:1", name)
