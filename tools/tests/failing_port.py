"""What `open_port` gives where a device's line fails at a given byte: without a line, and on counted time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from failing_line import NACK, LineFault
from rom_in_memory import CountedTime
from updating_box import UpdatingBox

BYTE_S = 11 / 115_200
"""A byte of the ROM's line; those of a Box's link are shorter."""
READ_S = 0.02
"""How long a read waits when nothing comes."""


class BoxInMemory(UpdatingBox):
    """Answers in the caller's thread; it sends no samples."""

    def answer(self, data: bytes) -> bytes:
        self._said = bytearray()
        self.hear(data)
        return bytes(self._said)

    def _write(self, data: bytes) -> None:
        self._said += data


@dataclass
class FailingPort:
    """Carries bytes both ways until `at_byte` of both together have passed; then `fault` begins.

    Attributes:
        carried: bytes that have passed.
    """

    answer: Callable[[bytes], bytes]
    time: CountedTime
    fault: LineFault
    at_byte: int
    carried: int = 0
    _coming: bytearray = field(default_factory=bytearray)
    _talk: random.Random = field(default_factory=lambda: random.Random(76))

    @property
    def in_waiting(self) -> int:
        self._end_if_unplugged()
        return len(self._coming)

    def read(self, count: int) -> bytes:
        self._end_if_unplugged()
        if self._has_failed and self.fault is LineFault.TALKING:
            self._coming += self._talk.randbytes(60)
        data = bytes(self._coming[:count])
        del self._coming[:count]
        self.time.sleep(len(data) * BYTE_S if data else READ_S)
        return data

    def write(self, data: bytes) -> None:
        self._end_if_unplugged()
        self.time.sleep(len(data) * BYTE_S)
        if not self._has_failed:
            self._coming += self._passed(self.answer(self._passed(data)))
        elif self.fault is LineFault.ECHO:
            self._coming += data
        elif self.fault is LineFault.NACK:
            self._coming += NACK

    def reset_input_buffer(self) -> None:
        self._coming.clear()

    def close(self) -> None:
        """Nothing is open."""

    @property
    def _has_failed(self) -> bool:
        return self.carried >= self.at_byte

    def _passed(self, data: bytes) -> bytes:
        data = data[: self.at_byte - self.carried]
        self.carried += len(data)
        return data

    def _end_if_unplugged(self) -> None:
        if self._has_failed and self.fault is LineFault.UNPLUGGED:
            raise OSError(5, "Input/output error")
