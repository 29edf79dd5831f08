"""An array that grows at its end, for results of a stream whose length nobody knows."""

import numpy as np

from opq_measure.signal import FloatArray


class Growing:
    """(n,) float64; room is doubled when it is full."""

    def __init__(self) -> None:
        self._room = np.empty(1024)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, values: FloatArray) -> None:
        """Behind what is there."""
        needed = self._count + len(values)
        if needed > len(self._room):
            room = np.empty(max(needed, 2 * len(self._room)))
            room[: self._count] = self._room[: self._count]
            self._room = room
        self._room[self._count : needed] = values
        self._count = needed

    def array(self) -> FloatArray:
        """A view of what is there now."""
        return self._room[: self._count]
