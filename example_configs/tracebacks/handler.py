"""Exceptions in the logs of a web server: a parser that cuts them out, an annotator that says whose they are."""

from __future__ import annotations

import re

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    ErrorDoc,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)

_RULE = "-" * 40
_CLIENT = re.compile(r"processing of request from \('(?P<host>[^']+)', (?P<port>\d+)\)")
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)$', re.MULTILINE)
_ERROR = re.compile(r"^(?P<name>[\w.]+): (?P<message>.*)$", re.MULTILINE)


class TracebackParser(SingleFileParser):
    """Every exception that Python's ``socketserver`` reported, as one document; the rest of the log is passed over.

    The server writes a rule before and behind each report, and lines of its access log between them.
    """

    def __init__(self, *, application: str) -> None:
        """Name the place of an exception by its innermost frame in files of this folder."""
        self._application = application

    def get_s3_file_type(self) -> str:
        """All files are logs."""
        return "LOG"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """A rule, and what is said below it."""
        return RecordParseHint(RecordHintType.PATTERN, f"{_RULE}\nException occurred during ")

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """The rule behind it."""
        return RecordParseHint(RecordHintType.PATTERN, f"\n{_RULE}\n")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document | ErrorDoc | SkipDoc:
        """Read one report."""
        text = byte_arr[start_index:end_index].decode("utf-8")
        client, errors = _CLIENT.search(text), _ERROR.findall(text)
        frames = [frame for frame in _FRAME.finditer(text) if frame["file"].startswith(self._application)]
        if client is None or not errors or not frames:
            return ErrorDoc(error_message="not a report of socketserver, or one that is cut off")
        name, message = errors[-1]
        if name == "ConnectionResetError":
            return SkipDoc(skip_message="the client hung up")
        return Document(
            {
                "exception": name,
                "message": message,
                "function": frames[-1]["function"],
                "line": int(frames[-1]["line"]),
                "client": client["host"],
                "traceback": text.removeprefix(_RULE).removesuffix(f"{_RULE}\n").strip(),
            },
            record_type="exception",
        )


class Blame(Annotator):
    """Whose fault it was: what the client sent, or the application."""

    def annotate(self, item: DataItem) -> Annotation:
        """Decide by the kind of exception: parsing fails on what came in, everything else is ours."""
        parsing = item.data["exception"].rpartition(".")[2] in {"ValueError", "JSONDecodeError", "UnicodeDecodeError"}
        return Annotation({"client": parsing, "place": f"{item.data['function']}:{item.data['line']}"})
