"""Who holds what, by the server's clock alone."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.mutex.conversation import Conversation
from datalake_service.mutex.protocol import LONGEST_TTL, grace, name_in
from datalake_service.mutex.table import Busy, Granted, LockTable
from datalake_utils.clock import ManualClock

TTL = timedelta(seconds=10)
NOW = timedelta(0)


def take(table: LockTable, client: str, name: str = "a", ttl: timedelta = TTL) -> Granted | Busy:
    """Ask for a lock."""
    return table.acquire(name, client=client, ttl=ttl, owner=f"the {client}")


def test_one_client_has_it_until_it_gives_it_back() -> None:
    """Others are told who, and for how long at most."""
    table = LockTable(clock=ManualClock(), quiet=NOW)
    assert take(table, "first") == Granted()
    assert take(table, "second") == Busy("the first", TTL + grace(TTL))
    assert take(table, "second", "b") == Granted()
    table.release("a", client="second")
    assert isinstance(take(table, "second"), Busy)
    table.release("a", client="first")
    assert take(table, "second") == Granted()


def test_a_grant_runs_out_after_its_time_and_the_grace() -> None:
    """Never earlier than its holder, which counts from before its request, believes."""
    clock = ManualClock()
    table = LockTable(clock=clock, quiet=NOW)
    take(table, "first")
    clock.advance((TTL + grace(TTL)).total_seconds() - 0.001)
    assert isinstance(take(table, "second"), Busy)
    clock.advance(0.002)
    assert take(table, "second") == Granted()
    table.release("a", client="first")
    assert isinstance(take(table, "third"), Busy), "a late release takes nothing away from the next holder"


def test_asking_again_is_renewing_and_never_makes_it_shorter() -> None:
    """Requests of one client may arrive in any order."""
    clock = ManualClock()
    table = LockTable(clock=clock, quiet=NOW)
    take(table, "first")
    clock.advance(8)
    assert take(table, "first") == Granted()
    take(table, "first", ttl=timedelta(seconds=1))
    clock.advance(9)
    assert isinstance(take(table, "second"), Busy)
    clock.advance(2)
    assert take(table, "second") == Granted()


def test_a_new_server_waits_for_what_an_earlier_one_may_have_granted() -> None:
    """Nobody gets anything for the longest time limit and its grace; then everybody."""
    clock = ManualClock()
    earlier = LockTable(clock=clock, quiet=NOW)
    take(earlier, "first", ttl=LONGEST_TTL)
    table = LockTable(clock=clock)
    assert isinstance(take(table, "first"), Busy)
    clock.advance((LONGEST_TTL + grace(LONGEST_TTL)).total_seconds() - 0.001)
    assert isinstance(take(table, "second"), Busy)
    clock.advance(0.002)
    assert take(table, "second") == Granted()


def test_what_the_dead_left_is_forgotten() -> None:
    """Also if nobody asks for it again: names would pile up."""
    clock = ManualClock()
    table = LockTable(clock=clock, quiet=NOW)
    for number in range(1_000):
        take(table, "dead", f"name {number}")
    clock.advance(61)
    take(table, "alive")
    assert len(table) == 1


steps = st.tuples(
    st.sampled_from(["acquire", "renew", "release", "wait"]), st.integers(0, 2), st.integers(1, 60), st.booleans()
)


@given(st.lists(steps, max_size=40))
def test_never_two_holders_by_their_own_clocks(script: list[tuple[str, int, int, bool]]) -> None:
    """Each counts from before its request; requests take a second; answers get lost; the server is started again."""
    clock = ManualClock()
    table = LockTable(clock=clock, quiet=NOW)
    deadlines = [0.0, 0.0, 0.0]
    for verb, client, seconds, lucky in script:
        if verb == "wait":
            clock.advance(seconds)
            if not lucky:
                table = LockTable(clock=clock)
            continue
        before = clock.monotonic()
        if verb == "release":
            if deadlines[client] > before:
                deadlines[client] = 0.0
                table.release("a", client=f"{client}")
            continue
        if (verb == "renew") != (deadlines[client] > before):
            continue
        clock.advance(0.5)
        granted = isinstance(take(table, f"{client}", ttl=timedelta(seconds=seconds)), Granted)
        clock.advance(0.5)
        if granted and lucky and (verb == "acquire" or clock.monotonic() < deadlines[client]):
            deadlines[client] = before + seconds
        assert sum(deadline > clock.monotonic() for deadline in deadlines) <= 1


# Messages --------------------------------------------------------------------------------------------------


def talk(*messages: object) -> list[dict[str, object] | None]:
    """The answers to messages, given as values or as they are."""
    conversation = Conversation(LockTable(clock=ManualClock(), quiet=NOW), "a")
    texts = [message if isinstance(message, (str, bytes)) else json.dumps(message) for message in messages]
    answers = [conversation.answer(text) for text in texts]
    return [None if answer is None else json.loads(answer) for answer in answers]


HELLO = {"type": "hello", "clientId": "c"}


def test_the_conversation_of_the_original() -> None:
    """Hello needs no answer; acquire and release do."""
    assert json.loads(Conversation.greeting()) == {"type": "hello_ok"}
    assert talk(HELLO, {"type": "acquire", "ttlMs": 10_000}, {"type": "release"}) == [
        None,
        {"type": "granted", "ttlMs": 10_000},
        {"type": "released"},
    ]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "not a message"), ("{", "not a message"), ("[" * 4_000, "not a message"), ("null", "not a message"),
        (b"\xff\xfe", "not a message"), ({"type": 5}, "not a message"), ({"type": "steal"}, "unknown type"),
        ({"type": "acquire"}, "ttlMs must be 1 to 60000"), ({"type": "acquire", "ttlMs": 60_001}, "1 to 60000"),
        ({"type": "acquire", "ttlMs": 0}, "ttlMs"), ({"type": "acquire", "ttlMs": -1}, "ttlMs"),
        ({"type": "acquire", "ttlMs": "10"}, "ttlMs"), ({"type": "acquire", "ttlMs": True}, "ttlMs"),
        ('{"type": "acquire", "ttlMs": NaN}', "ttlMs"), ('{"type": "acquire", "ttlMs": 1e999}', "ttlMs"),
        ({"type": "hello", "clientId": "other"}, "one client"), ({"type": "hello"}, "clientId"),
        ({"type": "hello", "clientId": "x" * 201}, "clientId"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_an_error_and_changes_nothing(message: object, said: str) -> None:
    """The conversation goes on after it."""
    _, error, granted = talk(HELLO, message, {"type": "acquire", "ttlMs": 1_000})
    assert error is not None
    assert error["type"] == "error"
    assert said in str(error["error"])
    assert granted == {"type": "granted", "ttlMs": 1_000}


@given(st.one_of(st.text(), st.binary()))
def test_whatever_is_said_is_answered(data: str | bytes) -> None:
    """No message makes the server fail."""
    talk(HELLO, data, data)


def test_nobody_gets_a_lock_without_a_name() -> None:
    """A client has to say who it is first."""
    assert "hello" in str(talk({"type": "acquire", "ttlMs": 1_000}))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/ws/a", "a"), ("/ws/a%2Fb", "a/b"), ("/ws/a/b", "a/b"), ("/ws/a-b", "a-b"), ("/mutex/ws/a?x=1", "a"),
        ("/ws/%25", "%"), ("/ws/%C3%BC", "ü"), ("/ws/", None), ("/", None), ("/wsa", None), ("/ws/%FF", None),
        ("/ws/" + "x" * 2_000, None),
    ],
)  # fmt: skip
def test_the_name_of_a_lock_is_in_the_path(path: str, name: str | None) -> None:
    """However a proxy hands it on; nothing that cannot be a name is one."""
    assert name_in(path) == name
