"""The acquisition, built for the PC, with a converter whose conversions and interrupts the test makes."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from host_library import CMODULES, library

HERE = CMODULES.parent / "tests"
SOURCES = [
    *(CMODULES / "acquire" / f"{noun}.c" for noun in ("acquire", "converter", "decimate", "ring")),
    HERE / "acquire_host.c",
]
OK, BAD_OVERSAMPLING, BUSY, NO_CLOCK = range(4)
HALF = 40
TICKS = 7000
OVERSAMPLINGS = (1, 2, 4, 5, 7, 8, 10)


class CBlock(ctypes.Structure):
    _fields_ = [
        ("first_sample", ctypes.c_uint64),
        ("first_tick", ctypes.c_int64),
        ("count", ctypes.c_uint16),
        ("clipped", ctypes.c_bool),
        ("overrun_before", ctypes.c_bool),
        ("counts", ctypes.POINTER(ctypes.c_int16)),
    ]


class Counters(ctypes.Structure):
    _fields_ = [
        ("samples", ctypes.c_uint64),
        ("missing", ctypes.c_uint64),
        ("clipped", ctypes.c_uint64),
        ("overruns", ctypes.c_uint32),
        ("reader_overruns", ctypes.c_uint32),
        ("grid_errors", ctypes.c_uint32),
    ]


@dataclass(frozen=True)
class Block:
    """One block as the reader got it, its counts copied."""

    first: int
    tick: int
    counts: Any
    clipped: bool
    overrun_before: bool

    @staticmethod
    def of(block: CBlock) -> "Block":
        counts = np.ctypeslib.as_array(block.counts, (block.count,)).copy()
        return Block(block.first_sample, block.first_tick, counts, block.clipped, block.overrun_before)


@cache
def c_library() -> Any:
    c = library("acquire", SOURCES)
    c.host_start.argtypes = [ctypes.c_uint32, ctypes.c_uint32, ctypes.c_int64, *[ctypes.c_int] * 6]
    c.host_convert.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    c.host_restart.argtypes = [ctypes.c_uint32]
    for name in ("opq_acquire_head", "opq_acquire_tail", "host_ring_head", "host_ring_tail"):
        getattr(c, name).restype = ctypes.c_uint64
    for name in ("opq_acquire_read", "host_ring_read"):
        getattr(c, name).argtypes = [ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p]
        getattr(c, name).restype = ctypes.c_size_t
    c.opq_acquire_next.restype = ctypes.c_bool
    c.host_ring_init.argtypes = [ctypes.c_int64]
    c.host_ring_put.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64]
    c.host_ring_gap.argtypes = [ctypes.c_uint32, ctypes.c_int64]
    c.host_ring_holds.argtypes = [ctypes.c_uint64]
    c.host_taps.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32)]
    return c


def taps_of(oversampling: int) -> tuple[Any, int]:
    """The filter's whole-number taps as they stand in the C file, and its shift; no taps: no such filter."""
    taps, shift = np.zeros(128, np.int16), ctypes.c_uint32()
    count = c_library().host_taps(oversampling, taps.ctypes.data, ctypes.byref(shift))
    return taps[:count].astype(np.int64), shift.value


class Acquisition:
    """A running acquisition; `convert` stores conversions, `interrupt` takes the full half buffers."""

    def __init__(
        self,
        oversampling: int,
        first_tick: int = 1000,
        now_tick: int | None = None,
        bits: int = 16,
        aperture_ticks: int = 0,
        offset_lsb: int = 0,
        delay_ticks: int = 0,
        linear_lsb: int = 0,
        fails: bool = False,
    ) -> None:
        self.c = c_library()
        self.c.opq_acquire_stop()
        now = first_tick if now_tick is None else now_tick
        self.status = self.c.host_start(
            oversampling,
            first_tick % 2**32,
            now,
            bits,
            aperture_ticks,
            offset_lsb,
            delay_ticks,
            linear_lsb,
            int(fails),
        )

    def convert(self, raw: Any) -> None:
        data = np.ascontiguousarray(raw).astype(np.int64).astype(np.uint16)
        self.c.host_convert(data.ctypes.data, len(data))

    def interrupt(self, early_trigger: bool = False, off_grid_ticks: int = 0) -> None:
        self.c.host_interrupt(int(early_trigger), off_grid_ticks)

    def restart(self, ticks: int) -> None:
        self.c.host_restart(ticks)

    def blocks(self) -> list[Block]:
        found, block = [], CBlock()
        while self.c.opq_acquire_next(ctypes.byref(block)):
            found.append(Block.of(block))
        return found

    def read(self, first: int, count: int) -> Any:
        out = np.zeros(count, np.int16)
        return out[: self.c.opq_acquire_read(first, count, out.ctypes.data)]

    def counters(self) -> Counters:
        counters = Counters()
        self.c.opq_acquire_counters(ctypes.byref(counters))
        return counters
