"""Reads a tasklist as PyTaskFarmer does, a part at a time: its lines, and which of them are tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from taskfarmer_mpi.errors import UserError

_CHUNK = 256 * 1024
_PRINTABLE = bytes(range(0x20, 0x7F)) + b"\t\n"
_MARKS = ((b"\n", b"\n\n"), (b" ", b"\n "), (b" ", b" \n"), (b"\t", b"\n\t"), (b"\t", b"\t\n"), (b"#", b"\n#"))
"""In a chunk each of whose lines is a task as it stands there is none of the pairs; what is first is found faster."""
_FOREIGN_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the file in chunks of whole lines, with every line end as a newline."""
    lines, rest = 0, b""
    try:
        with path.open("rb") as file:
            while data := file.read(_CHUNK):
                if not lines and not rest:
                    _refuse_foreign(path, data)
                whole, newline, rest = (rest + data).rpartition(b"\n")
                if newline:
                    yield _with_newlines(path, whole + newline, lines)
                    lines += whole.count(b"\n") + 1
    except OSError as error:
        raise UserError(f"{path}: cannot read the tasklist: {error.strerror}") from error
    if rest:
        yield _with_newlines(path, rest, lines)


def _refuse_foreign(path: Path, data: bytes) -> None:
    for mark, encoding in _FOREIGN_MARKS.items():
        if data.startswith(mark):
            raise UserError(f"{path}: the tasklist is {encoding}, not UTF-8: convert it, for example with iconv")


def _with_newlines(path: Path, data: bytes, lines: int) -> bytes:
    """Return a chunk, before which so many lines are, with every line end as a newline."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    nul = data.find(b"\0")
    if nul >= 0:
        line = lines + data.count(b"\n", 0, nul) + 1
        raise UserError(f"{path}:{line}: a NUL byte; a tasklist is text with one command per line")
    return data


def is_plain(data: bytes) -> bool:
    """Whether each line is a task as it stands: ASCII, no comment, and nothing blank, nor at its ends."""
    return (
        not data.translate(None, _PRINTABLE)
        and data[:1] not in b"# \t\n"
        and data[-1:] not in b" \t"
        and not any(mark in data and pair in data for mark, pair in _MARKS)
    )


def task_spans(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of each task's stripped text in `data`, whose lines all end at a newline."""
    start = 0
    size = len(data)
    while start < size:
        end = data.find(b"\n", start)
        if end < 0:
            end = size
        if end > start:
            first, last = data[start], data[end - 1]
            if 0x20 < first < 0x7F and 0x20 < last < 0x7F:
                if first != 0x23:  # "#"
                    yield start, end
            elif first != 0x23:
                yield from _stripped_span(data, start, end)
        start = end + 1


def _stripped_span(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the span of a line without the white space around it, as `str.strip` sees it; nothing if it is blank."""
    text = data[start:end].decode("utf-8", "surrogateescape")
    stripped = text.strip()
    if stripped:
        lead = text[: len(text) - len(text.lstrip())]
        start += len(lead.encode("utf-8", "surrogateescape"))
        yield start, start + len(stripped.encode("utf-8", "surrogateescape"))
