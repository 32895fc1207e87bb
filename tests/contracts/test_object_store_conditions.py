"""What every object store promises about conditional writes, also in races."""

from __future__ import annotations

import pytest

from datalake_service.errors import AlreadyExistsError, PreconditionFailedError
from datalake_service.storage import CreateOnly, IfMatch, Overwrite
from tests.support.contract_lakes import Lake, together


def test_create_only_never_replaces(lake: Lake) -> None:
    """Create-if-absent takes effect once; the loser is told so, and changes nothing."""
    lake.store.put("a", b"first", mode=CreateOnly())
    with pytest.raises(AlreadyExistsError, match="a"):
        lake.store.put("a", b"second", mode=CreateOnly())
    assert lake.side.read("a") == b"first"


def test_create_only_sees_what_others_wrote(lake: Lake) -> None:
    """An object that another program put there counts."""
    lake.side.write("a", b"foreign")
    with pytest.raises(AlreadyExistsError):
        lake.store.put("a", b"ours", mode=CreateOnly())
    assert lake.side.read("a") == b"foreign"


def test_create_again_after_delete(lake: Lake) -> None:
    """What was deleted may be created again."""
    lake.store.put("d/a", b"1", mode=CreateOnly())
    lake.store.delete("d/a")
    lake.store.put("d/a", b"2", mode=CreateOnly())
    assert lake.side.read("d/a") == b"2"


def test_if_match_replaces_the_version_that_was_read(lake: Lake) -> None:
    """Replace-if-ETag succeeds against the current version and yields a new ETag."""
    first = lake.store.put("a", b"1", mode=CreateOnly())
    second = lake.store.put("a", b"2", mode=IfMatch(first.etag))
    third = lake.store.put("a", b"3", mode=IfMatch(second.etag))
    assert len({first.etag, second.etag, third.etag}) == 3
    assert lake.side.read("a") == b"3"


def test_if_match_refuses_another_version(lake: Lake) -> None:
    """Replace-if-ETag fails against a version that was replaced, and changes nothing."""
    first = lake.store.put("a", b"1", mode=CreateOnly())
    lake.store.put("a", b"2", mode=Overwrite())
    with pytest.raises(PreconditionFailedError, match="a"):
        lake.store.put("a", b"3", mode=IfMatch(first.etag))
    assert lake.side.read("a") == b"2"


def test_if_match_needs_an_object(lake: Lake) -> None:
    """Replace-if-ETag of nothing fails, and creates nothing."""
    gone = lake.store.put("a", b"1", mode=CreateOnly())
    lake.store.delete("a")
    with pytest.raises(PreconditionFailedError):
        lake.store.put("a", b"2", mode=IfMatch(gone.etag))
    assert lake.side.keys() == set()


def test_overwrite_takes_whatever_stands_there(lake: Lake) -> None:
    """Overwriting works with and without an object."""
    lake.store.put("a", b"1", mode=Overwrite())
    lake.store.put("a", b"22", mode=Overwrite())
    assert lake.side.read("a") == b"22"


def test_a_race_to_create_has_one_winner(lake: Lake) -> None:
    """Of many writers that create the same object at once, one succeeds, and its bytes stand there."""
    for round_ in range(5):
        key = f"race/{round_}"

        def create(index: int, key: str = key) -> str:
            lake.store.put(key, f"writer {index}".encode(), mode=CreateOnly())
            return ""

        results = together(6, create)
        assert results.count("") == 1
        assert results.count("already_exists") == 5
        assert lake.side.read(key) == f"writer {results.index('')}".encode()


def test_a_race_to_replace_has_one_winner(lake: Lake) -> None:
    """Of many writers that replace the same version at once, one succeeds, and its bytes stand there."""
    etag = lake.store.put("race", b"start", mode=CreateOnly()).etag
    for _ in range(5):

        def replace(index: int, etag: str = etag) -> str:
            lake.store.put("race", f"writer {index} after {etag}".encode(), mode=IfMatch(etag))
            return ""

        results = together(6, replace)
        assert results.count("") == 1
        assert results.count("precondition_failed") == 5
        assert lake.side.read("race") == f"writer {results.index('')} after {etag}".encode()
        etag = lake.store.head("race").etag


def test_no_increment_is_lost(lake: Lake) -> None:
    """A counter that is read and replaced under its ETag by many writers counts every one of them."""
    lake.store.put("counter", b"0", mode=CreateOnly())

    def increment(_: int) -> str:
        while True:
            body, meta = lake.store.get("counter")
            try:
                lake.store.put("counter", str(int(body) + 1).encode(), mode=IfMatch(meta.etag))
            except PreconditionFailedError:
                continue
            return ""

    assert together(4, lambda index: "".join(increment(index) for _ in range(3))) == [""] * 4
    assert lake.side.read("counter") == b"12"
