"""CPU in `bench measure`: the standard set of figures beside the peer's, and the gateway's detectors."""

import time
from dataclasses import replace

from bench import peer
from bench.result import Baseline, BenchCase, case
from opq_gateway.measuring.edge_detectors import EdgeDetectors
from opq_gateway.measuring.figures import figures_of
from opq_measure.events.limits import Limits
from opq_measure.frequency.one_second import one_second_hz
from opq_measure.harmonics.spectrum import spectrum_of
from opq_measure.rms import half_cycle_rms_v
from opq_measure.signal import FloatArray, SignalPiece
from opq_measure.timebase.windows import Windows, windows_of
from opq_sim.mains import MIX_3_PERCENT, mains

RATE_HZ = 12_000.0
NOMINAL_HZ = 60.0
CPU_S = 20
"""Length of the measured signal."""
CPU_RUNS = 5
"""Runs whose median counts."""
BLOCK = 2400


def standard_set_ms(volts: FloatArray) -> float:
    """CPU of rms (cycle, half cycle, 12 cycles), harmonics with THD, 12-cycle frequency; ms per s of signal.

    A stream in blocks of 0.2 s: tracked, cut into windows, and each window measured as it comes.
    """
    windows = Windows(NOMINAL_HZ)
    began = time.process_time()
    for first in range(0, len(volts), BLOCK):
        for window in windows.push_samples(SignalPiece(volts[first : first + BLOCK], first, RATE_HZ)):
            half_cycle_rms_v(window.volts, window.half_edges)
            found = spectrum_of([window], len(window.edges) - 1)
            found.subgroups()
            found.thd()
    return 1e3 * (time.process_time() - began) * RATE_HZ / len(volts)


def second_ms(volts: FloatArray) -> float:
    """CPU of the frequency over each second, ms per second of signal."""
    size = round(RATE_HZ)
    began = time.process_time()
    for first in range(0, len(volts) - size + 1, size):
        one_second_hz(volts[first : first + size], RATE_HZ, NOMINAL_HZ)
    return 1e3 * (time.process_time() - began) * RATE_HZ / len(volts)


def costs() -> tuple[list[BenchCase], Baseline]:
    """CPU of ours and of the peer, in turns."""
    volts, _ = mains(CPU_S, RATE_HZ, frequency_hz=59.7, harmonics=MIX_3_PERCENT, noise_db=60, seed=1)
    ours, theirs, second = [], [], []
    for _ in range(CPU_RUNS):
        ours.append(standard_set_ms(volts))
        theirs.append(peer.measured(volts, RATE_HZ, NOMINAL_HZ).cpu_ms_per_s)
        second.append(second_ms(volts))
    cpu = case("CPU of the standard set", "ms/s", ours)
    base = Baseline("CPU of the standard set", case("peer", "ms/s", theirs).value, "ms/s (pqopen-lib)")
    cpu = replace(cpu, limit=base.value, peer=base.value)
    return [
        cpu,
        case("CPU of the frequency over 1 s", "ms/s", second, limit=5.0),
        case("CPU of the gateway's detectors, quiet mains", "ms/s", _detectors_ms(), limit=0.3),
    ], base


def _detectors_ms() -> list[float]:
    """CPU of the detectors per second of undisturbed signal, in addition to the figures of every window."""
    volts, _ = mains(CPU_S, RATE_HZ, harmonics=MIX_3_PERCENT, noise_db=60, seed=1)
    windows = list(windows_of(volts, RATE_HZ, NOMINAL_HZ))
    figures = figures_of(windows, [120.0] * len(windows))
    found = []
    for _ in range(CPU_RUNS):
        detectors, began_s = EdgeDetectors(120.0, NOMINAL_HZ, Limits()), time.process_time()
        for each in figures:
            detectors.accept_window(each)
        found.append(1000 * (time.process_time() - began_s) / CPU_S)
    return found
