"""Reads the rows of an SQLite file that SQLite refuses, page by page.

SQLite stops at the first page that is damaged. Here a page that cannot be read is passed over and counted,
and the others of its table are read. What is needed of the file: the page with the schema, and the inner
pages on the way to the rows. Values are returned as they are; sums show later whether they are right.
Source: sqlite.org/fileformat2.html.
"""

import struct
from collections.abc import Iterator
from mmap import mmap

Value = None | int | float | str | bytes
Row = tuple[int | None, list[Value]]
"""Rowid (None in a table without it) and the stored values."""
HEADER_BYTES = 100
USUAL_PAGE = 4096
TABLE_INNER = 5
"""First byte of a page, like the next three (fileformat2.html, B-tree Pages)."""
TABLE_LEAF = 13
INDEX_INNER = 2
INDEX_LEAF = 10
_TABLE = (TABLE_INNER, TABLE_LEAF)
_INDEX = (INDEX_INNER, INDEX_LEAF)
_WIDTHS = (0, 1, 2, 3, 4, 6, 8)
"""Bytes of whole numbers, by serial type."""
CELL_ERRORS = (IndexError, ValueError, struct.error)


class SqlitePages:
    """The pages of a file whose log was written back.

    Attributes:
        lost_pages: pages that could not be read.
        lost_rows: rows that could not be read in the other pages.
    """

    def __init__(self, data: bytes | mmap) -> None:
        self._data = data
        size = struct.unpack_from(">H", data, 16)[0] if len(data) >= HEADER_BYTES else 0
        size = 65536 if size == 1 else size
        self._size = size if size >= 512 and not size & size - 1 else USUAL_PAGE
        self._pages = len(data) // self._size
        self.lost_pages = self.lost_rows = 0

    def roots(self) -> dict[str, int]:
        """Returns table -> its first page."""
        return {
            str(values[1]): int(values[3])
            for _, values in self.rows(1)
            if len(values) > 4 and values[0] == "table" and isinstance(values[3], int)
        }

    def rows(self, root: int) -> Iterator[Row]:
        """Yields the rows of a table; what it passes over is counted in the attributes."""
        kinds: tuple[int, ...] = ()
        seen: set[int] = set()
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number in seen or not 1 <= number <= self._pages:
                self.lost_pages += 1
                continue
            seen.add(number)
            page = self._data[(number - 1) * self._size : number * self._size]
            start = HEADER_BYTES if number == 1 else 0
            kind, cells = page[start], int.from_bytes(page[start + 3 : start + 5], "big")
            kinds = kinds or (_TABLE if kind in _TABLE else _INDEX)
            inner = kind in (TABLE_INNER, INDEX_INNER)
            first = start + (12 if inner else 8)
            if kind not in kinds or first + 2 * cells > self._size:
                self.lost_pages += 1
                continue
            children = [int.from_bytes(page[start + 8 : start + 12], "big")] if inner else []
            for (at,) in struct.iter_unpack(">H", page[first : first + 2 * cells]):
                try:
                    if inner:
                        children.append(int.from_bytes(page[at : at + 4], "big"))
                        at += 4
                    if kind != TABLE_INNER:
                        yield self._row(page, at, kind == TABLE_LEAF)
                except CELL_ERRORS:
                    self.lost_rows += 1
            waiting += reversed(children)

    def _row(self, page: bytes, at: int, has_rowid: bool) -> Row:
        length, at = _varint(page, at)
        rowid = None
        if has_rowid:
            rowid, at = _varint(page, at)
            rowid -= (rowid >> 63) << 64
        most = self._size - 35 if has_rowid else (self._size - 12) * 64 // 255 - 23
        here = length
        if length > most:
            least = (self._size - 12) * 32 // 255 - 23
            here = least + (length - least) % (self._size - 4)
            here = here if here <= most else least
        payload = page[at : at + here]
        if length > here:
            payload += self._overflow(int.from_bytes(page[at + here : at + here + 4], "big"), length - here)
        if len(payload) != length:
            raise ValueError("a row is cut off")
        return rowid, _values(payload)

    def _overflow(self, number: int, length: int) -> bytes:
        if length > len(self._data):
            raise ValueError("a row is longer than the file")
        parts = []
        while length > 0:
            if not 1 <= number <= self._pages:
                raise ValueError("the rest of a row is not in the file")
            start = (number - 1) * self._size
            number = int.from_bytes(self._data[start : start + 4], "big")
            parts.append(self._data[start + 4 : start + 4 + min(length, self._size - 4)])
            length -= len(parts[-1])
        return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns a number and where it ends."""
    value = 0
    for place in range(8):
        byte = data[at + place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + place + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> list[Value]:
    end, at = _varint(payload, 0)
    place = end
    found: list[Value] = []
    while at < end:
        kind, at = _varint(payload, at)
        if kind >= 12:
            width = (kind - 12) // 2
        elif kind in (8, 9, 7):
            width = 8 if kind == 7 else 0
        else:
            width = _WIDTHS[kind]
        piece = payload[place : place + width]
        if len(piece) != width:
            raise ValueError("a row is cut off")
        place += width
        if kind >= 12:
            found.append(piece.decode() if kind % 2 else piece)
        elif kind == 7:
            found.append(struct.unpack(">d", piece)[0])
        else:
            number = kind - 8 if kind in (8, 9) else int.from_bytes(piece, "big", signed=True)
            found.append(None if kind == 0 else number)
    return found
