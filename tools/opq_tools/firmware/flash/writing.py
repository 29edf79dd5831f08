"""Writes sectors of a chip so that it holds the whole firmware, or raises an error.

A sector is erased, written and read back; bytes that differ are first read again, then written again, and
then the sector is erased again. The first bytes of a part (a slot's header, or the stack pointer and the
reset vector) are written last: until then a boot loader sees no firmware there, rather than half of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from opq_tools.firmware.flash.chip import Chip, FlashError, HalfWrittenError, LineError, Sector
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import ImagePart

CHUNK = 256
SECTOR_TRIES = 4
READ_TRIES = 3
ERASED = 0xFF


class Target(Protocol):
    """A chip that can be read, erased and written; each call may raise LineError."""

    def read(self, address: int, count: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def erase(self, sector: Sector) -> None: ...


@dataclass(frozen=True, slots=True)
class SectorRange:
    """The bytes of a part for one sector."""

    sector: Sector
    address: int
    data: bytes

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        for at in range(0, len(self.data), CHUNK):
            yield self.address + at, self.data[at : at + CHUNK]


def sector_ranges(chip: Chip, part: ImagePart) -> tuple[SectorRange, ...]:
    """The part cut at sectors; a sector with only 0xFF is left untouched unless `clear_to` covers it.

    Raises:
        FlashError: the part begins within a sector, and the sector's beginning would be lost.
    """
    found = []
    for sector in chip.sectors:
        low, high = max(sector.address, part.address), min(sector.end, part.address + len(part.data))
        if low >= high:
            if part.address < sector.end <= part.clear_to:
                found.append(SectorRange(sector, sector.address, b""))
            continue
        data = part.data[low - part.address : high - part.address]
        if low != sector.address:
            raise FlashError(
                f"{part.name} begins at 0x{low:08X}, within sector {sector.number}: writing would erase what "
                "is before it. Nothing was written"
            )
        if data.strip(b"\xff") or sector.end <= part.clear_to:
            found.append(SectorRange(sector, low, data + bytes((ERASED,)) * (-len(data) % 4)))
    return tuple(found)


def write_parts(target: Target, chip: Chip, parts: Sequence[ImagePart], steps: FlashProgress) -> int:
    """Writes and verifies all parts; returns the number of bytes.

    Raises:
        FlashError: refused, and nothing was changed.
        HalfWrittenError: writing failed; the text says what was changed.
    """
    plan = [(part, sector_ranges(chip, part)) for part in parts]
    total = sum(len(stretch.data) for _, cut in plan for stretch in cut)
    touched: list[int] = []
    for part, cut in plan:
        if not cut:
            continue
        steps.step(f"writing {part.name}", sum(len(stretch.data) for stretch in cut))
        try:
            for stretch in reversed(cut):
                touched.append(stretch.sector.number)
                _write(target, stretch, steps, hold_first=stretch is cut[0])
            _first_chunk(target, cut[0], steps)
        except (LineError, FlashError) as error:
            raise HalfWrittenError(
                f"{part.name}: {error}. The chip is half-written: sectors {_listed(touched)} were "
                f"touched, and {part.name} is not complete. Its boot loader in ROM still works: keep "
                "BOOT0 high, "
                "press reset and run the same command again"
            ) from error
    return total


def _write(target: Target, stretch: SectorRange, steps: FlashProgress, *, hold_first: bool) -> None:
    """Erases and writes a sector until it reads back right."""
    chunks = list(stretch.chunks())[1 if hold_first else 0 :]
    todo = chunks
    target.erase(stretch.sector)
    for attempt in range(SECTOR_TRIES):
        for address, data in todo:
            if data.strip(b"\xff"):
                target.write(address, data)
            if not attempt:
                steps.done(len(data) / 2)
        wrong = _wrong(target, chunks, steps if not attempt else None)
        if not wrong:
            return
        todo = [(address, data) for address, data, _ in wrong]
        if any(not _can_become(found, data) for _, data, found in wrong):
            target.erase(stretch.sector)
            todo = chunks
    raise FlashError(f"sector {stretch.sector.number} does not read back as written, {SECTOR_TRIES} times")


def _first_chunk(target: Target, stretch: SectorRange, steps: FlashProgress) -> None:
    address, data = next(stretch.chunks(), (0, b""))
    if not data.strip(b"\xff"):
        return
    target.write(address, data)
    if _wrong(target, [(address, data)], None):
        _write(target, stretch, FlashProgress(None), hold_first=False)
    steps.done(len(data))


def _wrong(
    target: Target, chunks: Sequence[tuple[int, bytes]], steps: FlashProgress | None
) -> list[tuple[int, bytes, bytes]]:
    """Chunks that differ, with the bytes read back; each is read again first, as the line may have errors."""
    found = []
    for address, data in chunks:
        for _ in range(READ_TRIES):
            there = target.read(address, len(data))
            if there == data:
                break
        else:
            found.append((address, data, there))
        if steps is not None:
            steps.done(len(data) / 2)
    return found


def _can_become(found: bytes, wanted: bytes) -> bool:
    """Whether programming can turn `found` into `wanted`: bits only go from 1 to 0."""
    return all(there & byte == byte for there, byte in zip(found, wanted, strict=True))


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in sorted(set(numbers)))
