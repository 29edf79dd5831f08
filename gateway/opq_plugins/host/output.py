"""Output: what a plug-in prints; the last of it is kept, the rest counted."""

import collections
import os
from typing import IO

KEPT_BYTES = 16 << 10


class Output:
    """`bytes`: all there were. One thread reads, any asks."""

    def __init__(self) -> None:
        self.bytes = 0
        self._chunks: collections.deque[bytes] = collections.deque()
        self._kept = 0

    @property
    def dropped_bytes(self) -> int:
        return max(0, self.bytes - self._kept)

    def tail(self) -> str:
        return b"".join(list(self._chunks)).decode("utf-8", "replace")

    def read(self, pipe: IO[bytes]) -> int:
        """Bytes read; -1: its end."""
        try:
            chunk = os.read(pipe.fileno(), 1 << 16)
        except (BlockingIOError, ValueError):
            return 0
        except OSError:
            return -1
        if not chunk:
            return -1
        self.bytes += len(chunk)
        self._chunks.append(chunk[-KEPT_BYTES:])
        self._kept = sum(map(len, self._chunks))
        while self._kept - len(self._chunks[0]) >= KEPT_BYTES:
            self._kept -= len(self._chunks.popleft())
        return len(chunk)
