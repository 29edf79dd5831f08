"""The emulated ROM boot loader at a port without a line, with mutated answers and counted time."""

import random
from dataclasses import dataclass, field

from opq_sim.box.rom_boot_loader import NACK, GoneError, Reading, RomBootLoader, deaf

LONGEST_READ_S = 0.06
"""How long a read waits on a busy machine, when nothing comes."""
LATEST_S = 1.5
"""Longest delay of an answer, beyond the second that the tool waits."""


@dataclass
class CountedTime:
    """Stands in for the module `time`: it passes only where something waits."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class ChipInMemory(RomBootLoader):
    """Answers in the caller's thread; its own is never started."""

    def __init__(self) -> None:
        super().__init__()
        self._said = bytearray()
        self._reading: Reading = self._start()

    def press_reset(self) -> None:
        self._reset.clear()
        self._reading = self._start()

    def _answer(self, data: bytes) -> None:
        self._said += data

    def answer(self, data: bytes) -> bytes:
        """What the chip says to these bytes."""
        said, reset_is_set, send = self._said, self._reset.is_set, self._reading.send
        for byte in data:
            if reset_is_set():
                self.press_reset()
                send = self._reading.send
            try:
                said += send(byte)
            except (StopIteration, GoneError):
                self._reading = deaf()
                send = self._reading.send
                next(self._reading)
        answered = bytes(said)
        said.clear()
        return answered


def mutated_bytes(data: bytes, chance: random.Random, before: bytes = b"") -> bytes:
    """Bytes flipped, lost, doubled, put in, cut off or replaced; or `before`, an earlier answer."""
    kind, at = chance.randrange(11), chance.randrange(len(data))
    if kind == 0:
        bent = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
        return bytes(bent)
    others = (
        lambda: data[:at] + data[at + 1 :],
        lambda: data[: at + 1] + data[at:],
        lambda: data[:at] + chance.randbytes(1) + data[at:],
        lambda: data[:at],
        lambda: bytes((NACK,)),
        lambda: chance.randbytes(len(data)),
        lambda: b"",
        lambda: chance.randbytes(chance.randint(1, 8)) + data,
        lambda: before or data[::-1],
        lambda: data + data,
    )
    return others[kind - 1]()


@dataclass
class DamagedPort:
    """What `open_port` gives: `share` of the answers and `share_in` of what is written are mutated.

    Attributes:
        mutated: answers that did not come as the chip sent them.
    """

    chip: ChipInMemory
    time: CountedTime
    chance: random.Random
    share: float = 0.0
    share_in: float = 0.0
    mutated: int = 0
    _coming: list[tuple[float, bytes]] = field(default_factory=list)
    _before: bytes = b""

    @property
    def in_waiting(self) -> int:
        if not self._coming:
            return 0
        return sum(len(data) for due_s, data in self._coming if due_s <= self.time.now_s)

    def read(self, count: int) -> bytes:
        if not self._coming or self._coming[0][0] > self.time.now_s:
            self.time.now_s += LONGEST_READ_S
            return b""
        due_s, data = self._coming.pop(0)
        if len(data) > count:
            self._coming.insert(0, (due_s, data[count:]))
        return data[:count]

    def write(self, data: bytes) -> None:
        if self.share_in and self.chance.random() < self.share_in:
            data = self._bent(data)
        said = self.chip.answer(data)
        if not said:
            return
        came, due_s = said, self.time.now_s
        if self.chance.random() < self.share:
            self.mutated += 1
            if self.chance.randrange(12) == 0:
                due_s += self.chance.uniform(LONGEST_READ_S / 2, LATEST_S)
            else:
                came = mutated_bytes(said, self.chance, self._before)
        self._before = said
        if came:
            self._coming.append((due_s, came))
            self._coming.sort(key=lambda each: each[0])

    def close(self) -> None:
        """Nothing is open."""

    def _bent(self, data: bytes) -> bytes:
        """One bit is flipped, or a byte is lost or comes twice: what the checksums of AN3155 are for."""
        at, kind = self.chance.randrange(len(data)), self.chance.randrange(3)
        if kind == 0:
            return data[:at] + bytes((data[at] ^ 1 << self.chance.randrange(8),)) + data[at + 1 :]
        return data[:at] + data[at + 1 :] if kind == 1 else data[: at + 1] + data[at:]
