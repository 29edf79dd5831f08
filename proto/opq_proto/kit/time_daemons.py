"""State of the system's clock as chrony or systemd-timesyncd report it; they know more than the kernel.

With chrony without `rtcsync` the kernel reports "not synchronised"; timesyncd sets the kernel's error to 0 at
each poll. So the daemon itself is queried where there is one. A query runs a program for at most TIMEOUT_S; a
pure function parses its answer.
"""

import os
import re
import subprocess
from pathlib import Path

from opq_proto.kit.clock import ClockState, system_clock
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource

TIMEOUT_S = 2.0
TIMESYNC = Path("/run/systemd/timesync")
WAY_NS = 50_000_000
"""Half of the round trip to a server, which timesyncd does not report; a bad line has 0.1 s."""
UNSYNCHRONISED = ClockState(TimeSource.FREE, UNKNOWN_UNCERTAINTY_NS)
_UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9, "min": 60e9, "h": 3600e9}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h)\b")


def read_clock_state(timesync: Path = TIMESYNC) -> ClockState:
    """Returns chrony's state, else timesyncd's, else the kernel's. Runs programs, so it is slow."""
    tracking = _run("chronyc", "-c", "-n", "tracking")
    if tracking:
        return chrony_clock(tracking)
    kernel = system_clock()
    if not timesync.is_dir():
        return kernel
    if not (timesync / "synchronized").exists():
        return UNSYNCHRONISED
    daemon = timesyncd_clock(_run("timedatectl", "show-timesync", "--property=NTPMessage"))
    if daemon.source is TimeSource.FREE or kernel.source is TimeSource.FREE:
        return kernel
    return max(daemon, kernel, key=lambda state: state.uncertainty_ns)


def chrony_clock(tracking: str) -> ClockState:
    """`chronyc -c tracking`: offset + root dispersion + half of the root delay (chronyc(1), tracking).

    >>> chrony_clock("D8EF2308,216.239.35.8,2,1700000000.1,-0.000020,0,0,0,0,0,0.002,0.0005,64.2,Normal")
    ClockState(source=<TimeSource.NTP: 1>, uncertainty_ns=1520000)
    """
    fields = tracking.strip().split(",")
    try:
        offset_s, delay_s, dispersion_s = (abs(float(fields[k])) for k in (4, 10, 11))
    except (IndexError, ValueError):
        return UNSYNCHRONISED
    bound_ns = (offset_s + dispersion_s + delay_s / 2) * 1e9
    if fields[-1] == "Not synchronised" or not bound_ns < UNKNOWN_UNCERTAINTY_NS:
        return UNSYNCHRONISED
    return ClockState(TimeSource.NTP, round(bound_ns))


def timesyncd_clock(message: str) -> ClockState:
    """`timedatectl show-timesync -p NTPMessage`: root dispersion, half of the root delay, jitter, the way.

    >>> timesyncd_clock("NTPMessage={ Leap=0, RootDelay=1.464ms, RootDispersion=839us, Jitter=1ms }")
    ClockState(source=<TimeSource.NTP: 1>, uncertainty_ns=52571000)
    """
    found = dict(re.findall(r"(RootDelay|RootDispersion|Jitter)=([^,}]*)", message))
    if not {"RootDelay", "RootDispersion"} <= found.keys() or "Leap=3" in message:
        return UNSYNCHRONISED
    delay_ns, dispersion_ns, jitter_ns = (
        _duration_ns(found.get(key, "")) for key in ("RootDelay", "RootDispersion", "Jitter")
    )
    bound_ns = dispersion_ns + delay_ns / 2 + jitter_ns + WAY_NS
    return ClockState(TimeSource.NTP, min(round(bound_ns), UNKNOWN_UNCERTAINTY_NS))


def _duration_ns(text: str) -> float:
    """systemd's spelling: `1min 2.5s`, `839us`, `0`."""
    return sum(float(number) * _UNITS_NS[unit] for number, unit in _DURATION.findall(text))


def _run(program: str, *arguments: str) -> str:
    """Returns what a program prints; empty where it is missing, fails or takes too long."""
    path = _path_of(program)
    if not path:
        return ""
    command = [path, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _path_of(program: str) -> str:
    """Returns a program's path as `shutil.which` does, but without importing archive formats; "" for none."""
    paths = (f"{folder}/{program}" for folder in os.get_exec_path())
    return next((path for path in paths if os.access(path, os.X_OK)), "")
