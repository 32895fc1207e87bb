from __future__ import annotations

import fnmatch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datalake_service.plan.globs import Glob, listing_prefixes


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.log", ["a.log"], ["a.log.gz", "b/a.log", "aXlog"]),
        ("*.log", ["a.log", "b.c.log"], ["a/b.log", ".log", ".a.log", "a.logs"]),
        ("**/*.log", ["a.log", "b/a.log", "c/b/a.log"], [".git/a.log", "b/.a.log", "b/.c/a.log", "a.txt"]),
        ("**", ["a", "b/a"], [".a", "b/.a", "b/"]),
        ("logs/", ["logs/a", "logs/b/a"], ["logs", "logs/", "logs2/a", "logs/.a"]),
        ("logs/**/a", ["logs/a", "logs/b/c/a"], ["logs/ba", "logs/b/.c/a"]),
        ("a?c", ["abc"], ["ac", "a/c", "abbc"]),
        ("[ab]x", ["ax", "bx"], ["cx", "abx"]),
        ("[!ab]x", ["cx"], ["ax", "/x"]),
        ("[a-c]", ["a", "b"], ["d", "-"]),
        ("[]]", ["]"], ["[]"]),
        ("[*]", ["*"], ["a"]),
        ("[", ["["], [""]),
        ("[^a]", ["^", "a"], ["b"]),
        (".hidden/*", [".hidden/a"], [".hidden/.b"]),
        ("/a/*", ["a/b"], ["/a/b"]),
        ("größe/*.gz", ["größe/ä.gz"], []),
        ("a+(b)$.log", ["a+(b)$.log"], ["ab.log"]),
    ],
)
def test_a_pattern_matches_whole_keys(pattern: str, matching: list[str], others: list[str]) -> None:
    """As in a shell with globstar."""
    glob = Glob(pattern)
    assert [key for key in [*matching, *others] if glob.matches(key)] == matching


@given(st.text("ab*?.[]!-", max_size=8), st.text("ab.[]!-", min_size=1, max_size=6))
@example("[?-.]", "[")
@example("[?--]", "-")
@example("[!b-a]", "b")
def test_within_a_segment_it_agrees_with_the_standard_library(pattern: str, name: str) -> None:
    """``fnmatch`` is the oracle; ``**`` and leading dots are ours."""
    if "**" in pattern or name.startswith(".") or not pattern:
        return
    assert Glob(pattern).matches(name) == fnmatch.fnmatchcase(name, pattern)


@given(st.lists(st.sampled_from(["a", "b*", "**", "?", "c"]), min_size=1, max_size=4), st.text("abc/", max_size=8))
def test_what_matches_lies_below_the_prefix(segments: list[str], key: str) -> None:
    """So listing the prefix finds every match."""
    glob = Glob("/".join(segments))
    if glob.matches(key):
        assert key.startswith(glob.prefix)


@pytest.mark.parametrize(
    ("patterns", "prefixes"),
    [
        (["a/b/*.gz"], ["a/b/"]),
        (["a/b*/c"], ["a/"]),
        (["*.gz", "a/*"], [""]),
        (["a/b", "a/c"], ["a/"]),
        (["a/", "a/b/*", "a2/*"], ["a/", "a2/"]),
    ],
)
def test_each_folder_is_listed_once(patterns: list[str], prefixes: list[str]) -> None:
    """Listing costs requests; none is made for what another has listed."""
    assert listing_prefixes(map(Glob, patterns)) == prefixes
