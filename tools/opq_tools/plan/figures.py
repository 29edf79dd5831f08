"""Measured figures for a plan, each with the command that measures it.

A newer figure is entered here by hand, with its date and load; then the table of docs/plan.md is made again
(`opq-tools plan --table`), and a test compares both. Limits of the code are not measured; a test compares
them with the code.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value."""

    value: float
    unit: str
    what: str
    command: str
    measured: str


_MACHINE = "2 vCPU AMD EPYC"
_NIGHT = f"2026-11-22, {_MACHINE}, load 8"
COST_US = {
    "triggering-broker": (
        (100, 1.0, 340.0), (100, 6.0, 98.4), (1000, 1.0, 84.5), (1000, 6.0, 38.0), (2000, 1.0, 57.5),
        (2000, 6.0, 30.7),
    ),
    "acquisition-broker": (
        (100, 1.0, 65.1), (100, 6.0, 10.0), (1000, 1.0, 18.0), (1000, 6.0, 2.8), (2000, 1.0, 14.3),
        (2000, 6.0, 3.0),
    ),
    "triggering-service": (
        (100, 1.0, 571.0), (100, 6.0, 166.0), (1000, 1.0, 165.0), (1000, 6.0, 54.8), (2000, 1.0, 145.0),
        (2000, 6.0, 36.6),
    ),
}  # fmt: skip
"""Service -> (Boxes, Measurements a second of each, µs of CPU per Measurement); measured to 2,000 Boxes."""
MAKAI = Figure(
    2000.0, "Boxes", "CPU a Measurement of 100 to so many: COST_US", "opq-tools bench makai", _NIGHT
)
CONNECTION_KB = Figure(
    42.0, "kB", "memory a connection of a Box at the acquisition broker", "opq-tools bench makai", _NIGHT
)
SENDING_KB = Figure(
    129.0, "kB", "the same at the triggering broker, with what waits at 12,000 a second",
    "opq-tools bench makai", _NIGHT,
)  # fmt: skip
BASE_MB = Figure(70.0, "MB", "memory of a broker without Boxes", "opq-tools bench makai", _NIGHT)
HANDSHAKES_PER_S = Figure(600.0, "", "handshakes a core second", "opq-tools bench makai", _NIGHT)
SERVICE_MB = Figure(
    84.0, "MB", "memory of the triggering service, 100 Boxes", "opq-tools bench makai", _NIGHT
)
SERVICE_KB = Figure(
    74.0, "kB", "memory of a Box in it, at 2,000 Boxes and 12,000 a second", "opq-tools bench makai", _NIGHT
)
MEASUREMENT_WRITTEN = Figure(
    191.0, "B", "written for a Measurement with noise in each number", "opq-tools bench store", _NIGHT
)
MEASUREMENT_ON_DISK = Figure(55.0, "B", "a Measurement in the file", "opq-tools bench store", _NIGHT)
_TRENDS = f"2026-11-23, {_MACHINE}, load 41"
TREND_WRITTEN = Figure(
    2188.0, "B", "written for a minute of trends with its levels", "opq-tools bench store", _TRENDS
)
TREND_ON_DISK = Figure(
    174.0, "B", "a minute of trends with its levels in the file", "opq-tools bench store", _TRENDS
)
ANALYSIS_S = Figure(
    0.036, "s", "an event of a burst, of each Box: 3 s with a dip", "opq-tools bench mauka",
    f"2026-11-22, {_MACHINE}, load 6",
)  # fmt: skip
UPLINK_BYTES = Figure(
    363.0, "B/s", "of a Box at one Measurement a second, both ways", "opq-tools bench gateway",
    f"2026-11-20, {_MACHINE}",
)  # fmt: skip
UPLINK_IDLE_BYTES = Figure(
    10.6, "B/s", "of a Box that sends none, both ways", "opq-tools bench gateway",
    f"2026-11-20, {_MACHINE}",
)  # fmt: skip
GATEWAY_CORES = Figure(
    0.0076, "cores", "a Box of 64 at its gateway, with the sealing of its ring (5.1 of 7.6 ms/s)",
    "opq-tools bench gateway", f"2026-11-20, {_MACHINE}",
)  # fmt: skip
RING_GB = Figure(2.07, "GB", "raw samples of a Box and day: 12,000 a second of 2 bytes", "", "reckoned")
EVENT_BYTES = Figure(
    74_400.0, "B", "samples of one Box for a dip: 3.1 s, as they are asked for", "", "reckoned"
)
BACKEND_CONNECTIONS = 256
"""Most connections of each address behind the brokers (`BackendLimits`)."""
BUDGET_BYTES_PER_MIN = 300_000_000
"""Most bytes of samples that a Makai requests in a minute (`asking.bytes_per_min`)."""
PROCESSES = 8
"""Commands of `opq-cloud`, without `all`."""
