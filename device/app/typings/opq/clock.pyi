"""GPS receiver and time: `device/cmodules/clock/module.c`."""

FREE: int
ACQUIRING: int
LOCKED: int
HOLDOVER: int

def configure(
    receiver: str,
    leap_seconds: int,
    pulse_delay_ns: int,
    ppb_per_k: float,
    ppb_per_k_sigma: float,
    baud: int = 9600,
    label_offset_s: int = 0,
) -> None:
    """Called at the start and when settings change. `receiver`: nmea, ubx or none."""

def poll() -> None:
    """Passes bytes of the receiver and pulses to the clock; to be called at least every 100 ms."""

def second(temperature_c: float) -> int:
    """To be called once a second, after poll; returns the state. NaN: no temperature."""

def sync(t_ns: int, uncertainty_ns: int, ntp: bool) -> None:
    """The gateway's time, valid now."""

def labels_wrong() -> int: ...
def damaged() -> int:
    """Messages of the receiver that could not be read, since the start."""

def seen() -> tuple[int, int, int]:
    """Satellites, latitude and longitude in 1e-7 degrees."""

def learnt() -> tuple[float, float] | None:
    """The crystal's ppb per kelvin and its sigma; None until they are known well enough to be saved."""

def status(buffer: bytearray = ...) -> int:
    """opq_clock_status_t into the buffer, for the prompt; its size."""
