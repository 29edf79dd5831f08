"""The data path of PendSV, seen from Python: `device/cmodules/pipeline/module.c`."""

COMMAND: int
UPDATE_DATA: int

def poll() -> tuple[int, int, int, str | bytes] | None:
    """The oldest (COMMAND, command_id, operation, argument) or (UPDATE_DATA, command_id, offset, bytes)."""

def acknowledge(command_id: int, status: int, detail: str = "") -> bool:
    """Returns False if the outbox is full, as all functions that send."""

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
    """Sends Hello; rate, block and ring are fixed in the build."""

def settings(sequence: int, items: list[tuple[str, str]]) -> bool: ...
def gps_status(satellites: int, latitude_e7: int, longitude_e7: int) -> bool:
    """Sends GpsStatus; state, time, uncertainty and pulses come from the clock."""

def health(
    temperature_c: float, supply_v: float, battery_v: float, heap_free_bytes: int, reset_cause: int
) -> bool:
    """Sends Health; uptime, load and counters come from the pipeline and the acquisition."""

def losses(gps_damaged: int, again: bool) -> bool:
    """Sends all counts of losses since the start if one changed or `again`; returns whether it did."""

def facts(again: bool, program: int, program_crc32: int) -> None:
    """Sends what the chip is set to, what the clock uses and the user's program (BoxFacts), if it changed or
    `again`."""

def crash() -> None:
    """Sends the record of the crash that led to this start, if there was one."""

def log(code: int, a: int, b: int) -> bool: ...
def restart() -> None:
    """To be called before acquire.start: sample indices begin at 0 again."""

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
    """Sets the limits of crossings; 0: not watched."""

def hold(held: bool) -> None:
    """Holds the line: while True, nothing is sent or read."""

def idle() -> bool:
    """Whether nothing waits to be sent."""

def counters() -> tuple[int, ...]:
    """blocks, dropped, tx_dropped_bytes, resent, gone, refused, crossings, measurements, inbox_refused;
    then the decoder's frames, crc_errors, malformed, oversize, bytes_skipped, sequence_gaps."""

def stage(name: str) -> tuple[int, int, int, int]:
    """Calls; minimum, mean, maximum of cycles: decimate, stamp, frame, features, receive, resend, total."""
