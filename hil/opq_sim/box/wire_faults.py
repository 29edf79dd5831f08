"""A faulty wire between Box and gateway: slow, cut in pieces, with changed or lost bytes, as configured.

Deterministic: which bytes of a direction are hit depends only on the seed and on their number in the
stream. Which pieces a reader receives depends on how fast it reads.
"""

from dataclasses import dataclass, replace

import numpy as np

from opq_proto.link.messages import LINK_BAUD

BITS_PER_BYTE = 10
"""8N1: start bit, eight data bits, stop bit."""


@dataclass(frozen=True, slots=True)
class LineFaults:
    """The faults of a wire; the default is a perfect one."""

    baud: int = 0
    """Bytes arrive no faster than this, 8N1; 0: without limit."""
    chunk_bytes: tuple[int, int] | None = None
    """Smallest and largest piece delivered at once, e.g. (1, 64)."""
    corruption: float = 0.0
    """Probability that a byte arrives changed."""
    dropping: float = 0.0
    """Probability that a byte does not arrive."""
    seed: int = 1

    def __post_init__(self) -> None:
        if not (0 <= self.corruption <= 1 and 0 <= self.dropping <= 1):
            raise ValueError("corruption and dropping are probabilities; want 0 to 1")
        if self.baud < 0:
            raise ValueError(f"baud is {self.baud}; want 0 (unlimited) or more")
        if self.chunk_bytes and not 1 <= self.chunk_bytes[0] <= self.chunk_bytes[1]:
            raise ValueError(f"chunk_bytes is {self.chunk_bytes}; want smallest and largest, from 1")


HARDWARE = LineFaults(baud=LINK_BAUD, chunk_bytes=(1, 64), corruption=1e-5)
"""As bad as a real UART with a long cable may be: the gateway's suite must pass with it."""


class FaultyLine:
    """One direction of a faulty wire.

    Attributes:
        corrupted_bytes, dropped_bytes: counts so far.
    """

    def __init__(self, faults: LineFaults, direction: int = 0) -> None:
        self._faults = faults
        self._seen = 0  # bytes of this direction so far
        self._corrupt = _Hits(faults.corruption, np.random.default_rng((faults.seed, direction, 0)))
        self._drop = _Hits(faults.dropping, np.random.default_rng((faults.seed, direction, 1)))
        self._change = np.random.default_rng((faults.seed, direction, 2))
        self._cut = np.random.default_rng((faults.seed, direction, 3))
        self.corrupted_bytes = 0
        self.dropped_bytes = 0

    def carry(self, data: bytes) -> bytes:
        """Returns the bytes of `data` that arrive, as they arrive."""
        corrupt = self._corrupt.within(self._seen, len(data))
        drop = self._drop.within(self._seen, len(data))
        self._seen += len(data)
        if not corrupt and not drop:
            return data
        arrived = bytearray(data)
        for at in corrupt:
            arrived[at] ^= int(self._change.integers(1, 256))
        for at in reversed(drop):
            del arrived[at]
        self.corrupted_bytes += len(corrupt)
        self.dropped_bytes += len(drop)
        return bytes(arrived)

    def piece_bytes(self) -> int:
        """The largest length of the next piece."""
        if self._faults.chunk_bytes is None:
            return 1 << 16
        low, high = self._faults.chunk_bytes
        return int(self._cut.integers(low, high + 1))

    def takes_ns(self, count: int) -> int:
        """How long the wire needs for `count` bytes."""
        return count * BITS_PER_BYTE * 10**9 // self._faults.baud if self._faults.baud else 0


class _Hits:
    """Positions of rare bytes: independent with one probability, so their distances are geometric."""

    def __init__(self, probability: float, rng: np.random.Generator) -> None:
        self._probability = probability
        self._rng = rng
        self._next = self._gap() - 1

    def within(self, first: int, count: int) -> list[int]:
        """Hit positions in first .. first + count - 1, counted from `first`."""
        found = []
        while self._next < first + count:
            found.append(self._next - first)
            self._next += self._gap()
        return found

    def _gap(self) -> int:
        return int(self._rng.geometric(self._probability)) if self._probability > 0 else 1 << 62


def for_box(faults: LineFaults, number: int) -> LineFaults:
    """The same wire with its own seed for the Box `number` of a run."""
    return replace(faults, seed=faults.seed * 1000 + number)
