"""Much text in little memory: kept in blocks, which are compressed once they are many.

Files could be read again instead; but who edits one in its place must not change what a farmer took from it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

_FREE = 1024 * 1024
"""Up to this size nothing is compressed [bytes]."""
_BLOCK = 4096
"""How much is unpacked where one text is asked for [bytes]."""
_RECENT = 16
"""How many blocks of texts stay unpacked."""


class PackedBlocks:
    """Blocks of bytes, in their order."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._first_packed = 0
        self._size = 0

    def append(self, block: bytes) -> None:
        """Add a block at the end."""
        self._size += len(block)
        if self._size <= _FREE:
            self._first_packed += 1
        else:
            from zlib import compress

            block = compress(block, 1)
        self._blocks.append(block)

    def __len__(self) -> int:
        return len(self._blocks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PackedBlocks) and self._blocks == other._blocks

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, number: int) -> bytes:
        block = self._blocks[number]
        if number < self._first_packed:
            return block
        from zlib import decompress

        return decompress(block)

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(len(self)))


class PackedTexts:
    """Texts of one line each, by their index; others can be appended."""

    def __init__(self) -> None:
        self._blocks = PackedBlocks()
        self._tail = b""
        """What is not yet a block."""
        self._firsts = array("Q", [0])
        """The index of the first text of each block, and of the tail."""
        self._count = 0
        self._recent: dict[int, list[bytes]] = {}

    def __len__(self) -> int:
        return self._count

    def append(self, lines: bytes) -> None:
        """Add texts, each of which ends with a newline."""
        self._recent.pop(len(self._blocks), None)
        self._count += lines.count(b"\n")
        lines = self._tail + lines
        start = 0
        while len(lines) - start > _BLOCK:
            end = lines.rfind(b"\n", start, start + _BLOCK) + 1 or lines.find(b"\n", start) + 1
            self._firsts.append(self._firsts[-1] + lines.count(b"\n", start, end))
            self._blocks.append(lines[start:end])
            start = end
        self._tail = lines[start:]

    def __getitem__(self, index: int) -> bytes:
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(index)
        number = bisect_right(self._firsts, index) - 1
        return self._texts(number)[index - self._firsts[number]]

    def _texts(self, number: int) -> list[bytes]:
        """Return the texts of one block."""
        texts = self._recent.get(number)
        if texts is None:
            if len(self._recent) >= _RECENT:
                del self._recent[next(iter(self._recent))]
            block = self._tail if number == len(self._blocks) else self._blocks[number]
            texts = self._recent[number] = block.split(b"\n")[:-1]
        return texts

    def some(self, start: int, stop: int) -> list[bytes]:
        """Return the texts from one index up to another; fewer where there are no more."""
        texts: list[bytes] = []
        stop = min(stop, self._count)
        number = bisect_right(self._firsts, start) - 1
        while start < stop:
            first, block = self._firsts[number], self._texts(number)
            texts += block[start - first : stop - first]
            start, number = first + len(block), number + 1
        return texts
