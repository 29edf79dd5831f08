"""Marker: a file that is there as long as no number beyond the reserved ones was used.

A disk that is full takes no new reservation, but lets a file go. So while it refuses, numbers go on
into a long stretch behind the reserved ones once the marker is gone; a start that does not find it
begins behind that stretch. In all other cases a kill or a power cut skips a chunk at most.
"""

import os
from pathlib import Path


class Marker:
    """Of one queue; its owner's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_set: bool | None = None  # not known

    def is_set(self) -> bool:
        """Ask the disk."""
        self._is_set = self._path.exists()
        return self._is_set

    def set(self) -> None:
        """Every number in use is reserved. Where the disk lets us not say so, a start skips more."""
        if self._is_set:
            return
        try:
            self._path.touch()
        except OSError:
            return  # tried again with the next reservation
        self._is_set = True

    def remove(self) -> bool:
        """True: it is gone, also after a power cut, and numbers beyond may be used."""
        if self._is_set is False:
            return True
        try:
            self._path.unlink(missing_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            return False
        self._is_set = False
        return True
