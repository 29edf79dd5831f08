"""The Box's features, built for the PC, as one call: counts in, windows, crossings and half cycles out."""

import ctypes
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from host_library import CMODULES, library

HERE = CMODULES.parent / "tests"
SOURCES = [
    *(
        CMODULES / "dsp" / f"{noun}.c"
        for noun in ("features", "windows", "tracker", "harmonics", "transient")
    ),
    HERE / "dsp_host.c",
]
WINDOWS, CROSSINGS, HALF_CYCLES = 4096, 256, 65536


class Window(ctypes.Structure):
    _fields_ = [
        ("first_sample", ctypes.c_uint64),
        ("samples", ctypes.c_uint32),
        ("rms_v", ctypes.c_float),
        ("f_hz", ctypes.c_float),
        ("thd", ctypes.c_float),
        ("trans_v", ctypes.c_float),
        ("half_cycle_min_v", ctypes.c_float),
        ("half_cycle_max_v", ctypes.c_float),
        ("clipped", ctypes.c_bool),
    ]


class Crossing(ctypes.Structure):
    _fields_ = [
        ("sample", ctypes.c_uint64),
        ("kind", ctypes.c_uint8),
        ("entering", ctypes.c_bool),
        ("rms_v", ctypes.c_float),
        ("limit_v", ctypes.c_float),
    ]


class HalfCycle(ctypes.Structure):
    _fields_ = [
        ("sample", ctypes.c_uint64),
        ("begin", ctypes.c_float),
        ("cycle_samples", ctypes.c_float),
        ("rms_v", ctypes.c_float),
    ]


class Results(ctypes.Structure):
    _fields_ = [
        ("windows", ctypes.c_uint32),
        ("crossings", ctypes.c_uint32),
        ("half_cycles", ctypes.c_uint32),
        ("window", Window * WINDOWS),
        ("crossing", Crossing * CROSSINGS),
        ("half_cycle", HalfCycle * HALF_CYCLES),
        ("crossing_known_at", ctypes.c_uint64 * CROSSINGS),
        ("lost", ctypes.c_uint32),
    ]


@dataclass
class Found:
    """What the Box reported of the signals pushed so far."""

    windows: list[Window] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    known_at: list[int] = field(default_factory=list)
    half_cycles: list[HalfCycle] = field(default_factory=list)
    lost: int = 0

    def column(self, name: str) -> Any:
        """(w,) float64 of one member of all windows."""
        return np.array([getattr(window, name) for window in self.windows])

    def half_edges(self) -> Any:
        """(m,) begins of all cycles of Urms(1/2), fractional sample positions."""
        return np.array([half.sample + half.begin for half in self.half_cycles])

    def half_rms_v(self) -> Any:
        return np.array([half.rms_v for half in self.half_cycles])


class Dsp:
    """One stream of samples; `push` may be called with any pieces."""

    def __init__(
        self,
        nominal_hz: float = 60.0,
        nominal_v: float = 120.0,
        v_per_lsb: float = 0.01,
        limits: tuple[float, float, float] = (0.9, 1.1, 0.1),
    ) -> None:
        self._c = library("dsp", SOURCES)
        self._c.host_push.argtypes = [
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_size_t,
            ctypes.c_uint64,
            ctypes.c_int,
            ctypes.POINTER(Results),
        ]
        self._c.host_begin.argtypes = [ctypes.c_float] * 6
        self._c.host_rate.argtypes = [ctypes.c_float]
        assert self._c.host_results_size() == ctypes.sizeof(Results)
        assert self._c.host_begin(nominal_hz, nominal_v, v_per_lsb, *limits) == 0
        self._results = Results()
        self._next = 0

    def rate(self, rate_hz: float) -> None:
        self._c.host_rate(rate_hz)

    def push(self, counts: Any, first: int | None = None, block: int = 200, clipped: bool = False) -> Found:
        """Everything found since the beginning."""
        data = np.ascontiguousarray(counts, dtype=np.int16)
        first = self._next if first is None else first
        self._c.host_push(data.ctypes.data, len(data), block, first, clipped, ctypes.byref(self._results))
        self._next = first + len(data)
        r = self._results
        return Found(
            list(r.window[: r.windows]),
            list(r.crossing[: r.crossings]),
            list(r.crossing_known_at[: r.crossings]),
            list(r.half_cycle[: r.half_cycles]),
            r.lost,
        )


def features(counts: Any, block: int = 200, **config: Any) -> Found:
    """All that the Box finds in one signal that begins at sample 0."""
    return Dsp(**config).push(counts, block=block)
