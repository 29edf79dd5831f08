"""Passes on bytes as they are made, for files that only grow, such as a zip. Writers of archives and Parquet
files need a file object. `PieceSink` is one that drops the bytes it has passed on, so that the memory does
not grow with the file."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The earliest time of the zip format. A real time would give the same data different bytes."""


class PieceSink:
    """A file object that can only be written at its end; it neither reads nor seeks."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Does nothing: no bytes are held back."""

    def close(self) -> None:
        self.closed = True

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def taken(self) -> bytes:
        """Returns what was written since the last call."""
        found = b"".join(self._parts)
        self._parts.clear()
        return found


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A file in an archive."""

    name: str
    pieces: Iterable[bytes]


def zip_pieces(members: Iterable[ZipMember]) -> Iterator[bytes]:
    """Yields a zip of the members; each member is written as it is made."""
    sink = PieceSink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            info = zipfile.ZipInfo(member.name, EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            with archive.open(info, "w") as file:
                for piece in member.pieces:
                    file.write(piece)
                    yield sink.taken()
            yield sink.taken()
    yield sink.taken()
