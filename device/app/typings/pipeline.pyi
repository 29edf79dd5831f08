"""The data path of PendSV, seen from Python: `device/cmodules/pipeline/module.c`."""

COMMAND: int
UPDATE_DATA: int

def poll() -> tuple[int, int, int, str | bytes] | None:
    """The oldest (COMMAND, command_id, operation, argument) or (UPDATE_DATA, command_id, offset, bytes)."""

def acknowledge(command_id: int, status: int, detail: str = "") -> bool:
    """As all that send: False when the outbox is full."""

def hello(
    box_id: int,
    boot_id: int,
    v_per_lsb: float,
    nominal_v: float,
    nominal_hz: float,
    effective_bits: float,
    hardware: str,
    firmware: str,
) -> bool:
    """Rate, block and ring are the build's."""

def settings(sequence: int, items: list[tuple[str, str]]) -> bool: ...
def gps_status(satellites: int, latitude_e7: int, longitude_e7: int) -> bool:
    """State, time, uncertainty, pulses are the clock's."""

def health(
    temperature_c: float, supply_v: float, battery_v: float, heap_free_bytes: int, reset_cause: int
) -> bool:
    """Uptime, load and counters are the pipeline's and the acquisition's."""

def losses(gps_damaged: int, again: bool) -> bool:
    """All that was lost since the start; what is as last time only `again`. Whether it was sent."""

def log(code: int, a: int, b: int) -> bool: ...
def restart() -> None:
    """Before acquire.start: indices begin anew."""

def features(
    nominal_v: float,
    nominal_hz: float,
    v_per_lsb: float,
    dip_pu: float,
    swell_pu: float,
    interruption_pu: float,
    hysteresis_pu: float,
) -> None: ...
def limits(dip_pu: float, swell_pu: float, interruption_pu: float, hysteresis_pu: float) -> None:
    """0: not watched."""

def hold(held: bool) -> None:
    """True: USART1 is the REPL's; nothing is sent or read any more."""

def idle() -> bool:
    """Nothing waits to be sent."""

def counters() -> tuple[int, ...]:
    """blocks, dropped, tx_dropped_bytes, resent, gone, refused, crossings, measurements, inbox_refused;
    of the decoder frames, crc_errors, malformed, oversize, bytes_skipped, sequence_gaps."""

def stage(name: str) -> tuple[int, int, int, int]:
    """calls, least, mean, most cycles of decimate, stamp, frame, features, receive, resend, total."""
