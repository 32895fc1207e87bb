from __future__ import annotations

import bz2
import gzip

import pytest
import zstandard

from datalake_service.readers.sniffing import Compression, Content, Damage, DamageKind, sniff

GZIP, ZSTD, BZIP2 = gzip.compress(b"data", mtime=0), zstandard.compress(b"data"), bz2.compress(b"data")
TEXT = b'{"ts": 1}\n'
BINARY = bytes(range(256))


@pytest.mark.parametrize(
    ("head", "name", "compression"),
    [
        (GZIP, "a.log.gz", Compression.GZIP),
        (GZIP, "A.LOG.GZ", Compression.GZIP),
        (ZSTD, "a.zst", Compression.ZSTD),
        (b"\x53\x2a\x4d\x18\x00\x00\x00\x00", "a.zst", Compression.ZSTD),
        (BZIP2, "a.bz2", Compression.BZIP2),
        (bz2.compress(b""), "a.bz2", Compression.BZIP2),
        (TEXT, "a.log", Compression.NONE),
        (BINARY, "a.bin", Compression.NONE),
        (b"", "a.log", Compression.NONE),
        (b"", "a.gz", Compression.NONE),
        (b"\x1f\x8b", "a.gz", Compression.GZIP),
        (b"BZh9", "a.bz2", Compression.BZIP2),
        (b"BZh9 is how this text begins", "a.txt", Compression.NONE),
        (b"\x1f\x8b", "a.bin", Compression.NONE),
    ],
)
def test_what_is_as_it_says_needs_no_notice(head: bytes, name: str, compression: Compression) -> None:
    """Content and name agree, or the name promises nothing and the content is not compressed."""
    assert sniff(head, name) == Content(compression)


@pytest.mark.parametrize(
    ("head", "name", "compression", "words"),
    [
        (TEXT, "a.gz", Compression.NONE, "named .gz, but holds text; read as it is"),
        ("größe".encode("latin-1"), "a.zst", Compression.NONE, "named .zst, but holds text; read as it is"),
        ("text".encode("utf-16"), "a.gz", Compression.NONE, "named .gz, but holds text; read as it is"),
        (GZIP, "a.log", Compression.GZIP, "its name does not say that it holds gzip data; decompressed"),
        (ZSTD, "a.gz", Compression.ZSTD, "named .gz, but holds zstd data; decompressed"),
    ],
)
def test_the_content_decides_and_the_user_learns_it(
    head: bytes, name: str, compression: Compression, words: str
) -> None:
    """A file that is not what its suffix says is read as what it is."""
    assert sniff(head, name) == Content(compression, words)


@pytest.mark.parametrize(
    ("head", "name", "kind", "words"),
    [
        (BINARY, "a.gz", DamageKind.MISNAMED, "neither gzip data nor text"),
        (b"PK\x03\x04rest", "a.log", DamageKind.UNSUPPORTED, "zip archives"),
        (b"\xfd7zXZ\x00rest", "a.gz", DamageKind.UNSUPPORTED, "xz archives"),
    ],
)
def test_what_cannot_be_read_says_why(head: bytes, name: str, kind: DamageKind, words: str) -> None:
    """Neither its name nor its content helps, or it is an archive of another kind."""
    damage = sniff(head, name)
    assert isinstance(damage, Damage)
    assert damage.kind is kind
    assert words in damage.message
