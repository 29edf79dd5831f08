"""A user's program: `device/cmodules/program/module.c`. Window, `log`, `channel` and `crossing` are for
`box.py`; `user_program.py` uses the rest."""

from collections.abc import Callable

class Window:
    """One window of 10 or 12 cycles, as the Box computes it (cmodules/dsp); None: unknown."""

    first_sample: int
    samples: int
    t_ns: int
    """UTC of the first sample, ns since 1970."""
    uncertainty_ns: int
    """0xFFFFFFFF: unknown."""
    source: int
    """0 free, 1 NTP, 2 holdover, 3 GPS."""
    rms_v: float | None
    f_hz: float | None
    thd: float | None
    """Ratio."""
    trans_v: float | None
    half_cycle_min_v: float | None
    """Least rms of one cycle, renewed every half cycle."""
    half_cycle_max_v: float | None
    clipped: bool

def log(a: int, b: int) -> bool:
    """Sends `box.program_line` with two 32-bit integers; returns False after four messages in one call, or if
    the line is full."""

def crossing(kind: str, entering: bool, rms_v: float, limit_v: float) -> bool:
    """Sends a crossing of kind dip, swell or interruption at the window's first sample; then its gateway
    sends at once. Returns False, as `log`, and outside of `window(w)`."""

def channel(name: str, unit: str, value: float | None) -> bool:
    """Sends the window's value of a channel of your own. The name has at most 16 of a to z, 0 to 9 and _, the
    unit 8 of a to z and 0 to 9, such as `c`; each begins with a letter. Returns False as `crossing` does, and
    for an unknown value."""

MAX_BYTES: int
CRASHES: int

def call(crc32: int, limit_ms: int, function: Callable[..., object], *arguments: object) -> object:
    """Calls a function; after `limit_ms` each jump of its byte code raises KeyboardInterrupt. `crc32` is of
    the text that is called: a reset meanwhile counts against this text."""

def expired() -> bool:
    """Whether the last call was over its limit; it may have returned nevertheless."""

def line(error: BaseException) -> int:
    """The innermost line of box.py in its traceback; 0: none."""

def crashed() -> bool:
    """Whether the reset before this start came during a call of the stored program; asked once, after
    `load`."""

def watch(on: bool) -> None:
    """Whether windows are kept for `window`."""

def window() -> Window | None:
    """The oldest window that was not fetched; eight are kept."""

def windows_lost() -> int:
    """Windows that found the eight places taken, since the start."""

def load() -> tuple[int, int, int] | None:
    """Length, CRC-32 and crashes of the stored program."""

def text() -> str:
    """Its text, which stays in flash."""

def piece(offset: int) -> bytes:
    """At most 180 bytes of it."""

def room() -> int:
    """Begins a place for another text; where none is free, every fifteenth time, it erases the sector (about
    1 s). 0: done."""

def write(offset: int, piece: bytes | bytearray) -> int: ...
def received(length: int, crc32: int) -> str | None:
    """What was written; None: its CRC-32 is another."""

def keep(length: int, crc32: int) -> int:
    """Stores what was written; length 0: there is no program any more."""

def count_crash() -> int: ...
