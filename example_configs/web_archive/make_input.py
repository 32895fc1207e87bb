"""Makes the archives in ``input/``: two small crawls of a made-up site, each as WARC, WAT and WET.

Run it in this folder: ``python make_input.py [folder]``. It always makes the same records.
"""

from __future__ import annotations

import gzip
import json
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 - a seeded one: the same archives each time

_DATE = "2026-11-20T13:00:00Z"
_WORDS = {
    "eng": "the harbour lies behind old walls and every evening boats return with nets and stories from the open sea",
    "deu": "der hafen liegt hinter alten mauern und jeden abend kehren boote mit netzen und geschichten vom meer heim",
    "spa": "el puerto está detrás de viejos muros y cada tarde los barcos vuelven con redes e historias del mar",
    "fra": "le port est derrière de vieux murs et chaque soir les bateaux reviennent avec des filets et des histoires",
}


@dataclass
class Archive:
    """Three files that grow together, one gzip member for each record, as crawls are."""

    name: str
    rng: Random
    files: dict[str, list[bytes]] = field(default_factory=lambda: {"warc.gz": [], "warc.wat.gz": [], "warc.wet.gz": []})

    def add(self, file: str, kind: str, body: bytes, **fields: str) -> str:
        """Add a record; returns its id. Fields are written with ``-`` for ``_``; ``Content_Length`` may be left out."""
        record_id = f"<urn:uuid:{uuid.UUID(int=self.rng.getrandbits(128), version=4)}>"
        header = {"WARC_Type": kind, "WARC_Date": _DATE, "WARC_Record_ID": record_id, "Content_Length": str(len(body))}
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in (header | fields).items() if value]
        record = "\r\n".join(["WARC/1.0", *lines, "", ""]).encode() + body + b"\r\n\r\n"
        self.files[file].append(gzip.compress(record, mtime=0))
        return record_id

    def add_page(self, path: str, answer: bytes, *, title: str | None, text: str | None, language: str = "eng") -> None:
        """Add what a crawler keeps of a page: request, response and metadata, and what is extracted from them."""
        uri = f"https://harbour.example/{path}"
        asked = f"GET /{path} HTTP/1.1\r\nHost: harbour.example\r\n\r\n".encode()
        html = {"Head": {"Title": title}, "Links": [{"url": f"/{number}"} for number in range(len(path))]}
        found = {"request": {}, "response": {"HTTP-Response-Metadata": {"HTML-Metadata": html if title else {}}}}
        for kind, body in {"request": asked, "response": answer, "metadata": b"fetchTimeMs: 12\r\n"}.items():
            about = self.add("warc.gz", kind, body, WARC_Target_URI=uri)
            extract = json.dumps({"Envelope": {"Payload-Metadata": found.get(kind, {})}}).encode()
            self.add("warc.wat.gz", "metadata", extract, WARC_Target_URI=uri, WARC_Refers_To=about)
            if kind == "response" and text is not None:
                self.add(
                    "warc.wet.gz",
                    "conversion",
                    text.encode(),
                    WARC_Target_URI=uri,
                    WARC_Refers_To=about,
                    WARC_Identified_Content_Language=language,
                )


def answer(status: str, mime: str, payload: bytes) -> bytes:
    """What a web server sends."""
    return f"HTTP/1.1 {status}\r\nContent-Type: {mime}\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload


def add_article(archive: Archive, number: int) -> None:
    """A page with a title, links and a text in one of four languages."""
    language = sorted(_WORDS)[number % len(_WORDS)]
    words = _WORDS[language].split()
    sentences = [" ".join(archive.rng.choices(words, k=archive.rng.randint(9, 20))) for _ in range(4)]
    title = f"{words[1].capitalize()} {number}"
    text = "\n".join([title, "Home", "Contact", *(f"{sentence.capitalize()}." for sentence in sentences)])
    html = f"<html lang={language}><title>{title}</title><p>{'<p>'.join(sentences)}</html>".encode()
    page = answer("200 OK", "text/html; charset=UTF-8", html)
    archive.add_page(f"articles/{number}", page, title=title, text=text, language=language)


def add_oddities(archive: Archive) -> None:
    """What every crawl has: redirects, missing pages, files that are no text, a page with records in it."""
    archive.add_page("old", answer("301 Moved Permanently", "text/html", b""), title=None, text=None)
    archive.add_page("lost", answer("404 Not Found", "text/html", b"<title>Lost</title>"), title="Lost", text="Lost")
    archive.add_page("map.png", answer("200 OK", "image/png", bytes(range(256))), title=None, text=None)
    quoted = b"<title>WARC</title><pre>WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n</pre>"
    text = "A record of the archive format begins with its version and says in its header how long it is."
    archive.add_page("warc", answer("200 OK", "text/html", quoted), title="WARC", text=text)


def add_damage(archive: Archive) -> None:
    """A record whose length is unknown, and metadata that is no JSON: each of them costs one record, and no other."""
    uri = "https://harbour.example/damaged"
    about = archive.add("warc.gz", "response", b"HTTP/1.1 200 OK\r\n\r\n?", WARC_Target_URI=uri, Content_Length="")
    archive.add("warc.wat.gz", "metadata", b"{}", WARC_Target_URI=uri, WARC_Refers_To=about)
    fine = answer("200 OK", "text/html", b"<title>Fine</title>")
    about = archive.add("warc.gz", "response", fine, WARC_Target_URI="https://harbour.example/fine")
    archive.add("warc.wat.gz", "metadata", b'{"Envelope": ', WARC_Refers_To=about)
    archive.add("warc.wet.gz", "conversion", b"Fine", WARC_Refers_To=about)


def make(folder: Path) -> None:
    """Write both crawls."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        archive = Archive(f"crawl-{number:05d}", Random(number))  # noqa: S311 - the same each time
        for file in archive.files:
            archive.add(
                file, "warcinfo", f"isPartOf: {archive.name}\r\n".encode(), WARC_Filename=f"{archive.name}.{file}"
            )
        for article in range(12 * number, 12 * number + 12):
            add_article(archive, article)
        if number == 0:
            add_oddities(archive)
        else:
            add_damage(archive)
            add_article(archive, 24)
        for file, members in archive.files.items():
            (folder / f"{archive.name}.{file}").write_bytes(b"".join(members))


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "input"))
