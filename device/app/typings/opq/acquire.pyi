"""The converter: `device/cmodules/acquire/module.c`."""

OK: int
BAD_OVERSAMPLING: int
BUSY: int
NO_CLOCK: int
NO_DEVICE: int

def start(converter: str, oversampling: int, offset_lsb: int, delay_ticks: int) -> int:
    """Starts with a new index, ring and counters; `converter` is "board", "internal" or "external".

    `oversampling` 0: the converter's default.
    """

def stop() -> None: ...
def converter() -> tuple[str, int, float, float] | None:
    """The running one: (name, oversampling, effective bits, v_per_lsb without the setting `gain`)."""

def head() -> int:
    """Index of the next sample to be made."""

def ring_samples() -> int: ...
def counters() -> tuple[int, int, int, int, int, int]:
    """samples, missing, clipped, overruns, reader overruns, triggers off the grid."""

def read(first: int, into: bytearray) -> int:
    """Copies int16 samples from index `first` on; returns how many of them the ring still had."""

def slow() -> tuple[float, float, float, float]:
    """VDDA V, supply V, battery V, chip temperature in degrees C; NaN: unknown."""
