"""LogSegment: one file pair of a HeldLog: Measurements in the order in which they were made.

`N.rows` has a record per Measurement (box, length, sequence, place of its body), `N.bodies` their bytes.
Bodies are written first: a reader skips a row that a kill left incomplete or without its body.
Written data survive the end of the process (page cache), not a power cut.
"""

import errno
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROW = np.dtype([("box", "<u4"), ("length", "<u4"), ("sequence", "<i8"), ("place", "<i8")])
RowArray = NDArray[np.void]


class LogSegment:
    """One pair of files; open for appending until `seal`.

    Attributes:
        newest: (boxes,) the highest sequence of each Box in it; 0: none.
        is_deleted: True once it can no longer be read.
    """

    def __init__(self, folder: Path, number: int, boxes: int, new: bool) -> None:
        """
        Raises:
            OSError: a file cannot be made or read.
        """
        self.number = number
        self.newest = np.zeros(boxes, np.int64)
        self.is_deleted = False
        self._rows_path, self._bodies_path = (folder / f"{number:012d}.{kind}" for kind in ("rows", "bodies"))
        self._rows_file = self._rows_path.open("ab", buffering=0) if new else None
        self._bodies_file = self._bodies_path.open("ab", buffering=0) if new else None
        self._body_bytes, self._row_bytes = (
            0 if new else path.stat().st_size for path in (self._bodies_path, self._rows_path)
        )

    @property
    def file_bytes(self) -> int:
        """Size of both files."""
        return self._body_bytes + self._row_bytes

    def append(
        self,
        which: NDArray[np.int64],
        numbers: NDArray[np.int64],
        sequences: NDArray[np.int64],
        bodies: Sequence[bytes],
    ) -> None:
        """Appends Measurements of different Boxes (index and id); afterwards a kill of the process cannot
        lose them.

        Raises:
            OSError: the disk does not take them; none of them is held.
        """
        assert self._rows_file is not None and self._bodies_file is not None
        rows = np.empty(len(which), ROW)
        lengths = np.array([len(body) for body in bodies], np.int64)
        rows["box"], rows["length"], rows["sequence"] = numbers, lengths, sequences
        rows["place"] = self._body_bytes + np.cumsum(lengths) - lengths
        data = b"".join(bodies)
        try:
            _write(self._bodies_file, data)
            _write(self._rows_file, rows.tobytes())
        except OSError:
            self._bodies_file.truncate(self._body_bytes)  # the next append overwrites this one
            self._rows_file.truncate(self._row_bytes)
            raise
        self._body_bytes += len(data)
        self._row_bytes += rows.nbytes
        np.maximum.at(self.newest, which, sequences)

    def seal(self) -> None:
        """Closes the segment for appending."""
        for file in (self._rows_file, self._bodies_file):
            if file is not None:
                file.close()
        self._rows_file = self._bodies_file = None

    def read_rows(self) -> RowArray:
        """Returns every whole row whose body is there.

        Raises:
            OSError: the files cannot be read.
        """
        data = self._rows_path.read_bytes()
        rows = np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], ROW)
        there = self._bodies_path.stat().st_size
        return rows[rows["place"] + rows["length"].astype(np.int64) <= there]

    def read_bodies(self, rows: RowArray) -> list[bytes]:
        """The bodies of some rows.

        Raises:
            OSError: the file cannot be read.
        """
        if not len(rows):
            return []
        first = int(rows["place"].min())
        last = int((rows["place"] + rows["length"].astype(np.int64)).max())
        with self._bodies_path.open("rb") as file:
            file.seek(first)
            data = file.read(last - first)
        places = (rows["place"] - first).tolist()
        return [data[at : at + length] for at, length in zip(places, rows["length"].tolist(), strict=True)]

    def delete(self) -> None:
        """Deletes the rows first, because a body without a row is ignored.

        Raises:
            OSError: a file cannot be deleted.
        """
        self.seal()
        self.is_deleted = True
        self._rows_path.unlink(missing_ok=True)
        self._bodies_path.unlink(missing_ok=True)


def _write(file: FileIO, data: bytes) -> None:
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, "the disk took only a part", str(file.name))


def segment_numbers(folder: Path) -> list[int]:
    """Returns the numbers of the segments in a folder, rising."""
    return sorted(int(path.stem) for path in folder.glob("*.rows") if path.stem.isdigit())
