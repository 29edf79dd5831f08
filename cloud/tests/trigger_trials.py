"""A trial: a disturbance at the weakest magnitude of docs/sim-data-sets.md, measured by the gateway's code.

    table of magnitudes, each size at its least --> samples, 60 dB
        --> BoxMeter with its detectors, crossings of the Box --> Measurements

What a class is drawn with beside its size (point on wave, frequency, length, background) is drawn as in a
data set. `REST_S` of the same steady voltage come before it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.box_meter import BoxMeter, cut_all
from opq_gateway.measuring.measurements import Measured
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Sinks
from opq_gateway.measuring.window_figures import figures_of
from opq_gateway.uplink.box_uplink import crossing_measurement
from opq_measure.timebase.window import Window
from opq_proto.messages import Measurement, TimeSource
from opq_sim.data_sets.draws import KeyedDraws
from opq_sim.data_sets.kinds import MAKERS, DrawnNumbers, draw_numbers
from opq_sim.data_sets.labelled import FULL_SCALE, NOMINAL_V, RATE_HZ
from opq_sim.data_sets.magnitudes import BACKGROUND, MAGNITUDES, Magnitude
from opq_sim.fleet.sample_crossings import SampleCrossings
from opq_sim.mains.grid import Grid
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import Harmonic, Wave

REST_S = 6.0
"""Seconds of steady voltage before the disturbance; half as much after it, unless `after_s` is more."""
LONGEST_S = 10.0
"""Longest trial of a lasting class: its trigger decides by then or never."""
UNCERTAINTY_NS = 100
SIZES = {
    "sag": "residual",
    "swell": "residual",
    "interruption": "residual",
    "undervoltage": "residual",
    "overvoltage": "residual",
    "impulsive_transient": "peak",
    "oscillatory_transient": "peak",
    "periodic_notching": "depth",
    "harmonics": "order 3|order 5|order 7|order 11",
    "interharmonics": "size",
    "flicker": "change",
    "frequency_deviation": "deviation",
    "phase_jump": "jump",
    "dc_offset": "direct voltage",
    "noise": "noise",
    "rapid_voltage_change": "change",
    "mains_signalling": "size",
}
"""Class -> the quantity that makes it weak or strong."""
WEAKEST_IS_MOST = ("sag", "interruption", "undervoltage")
"""Classes with a residual, where the weakest disturbance is the one that leaves most."""


def weakest(kind: str, numbers: DrawnNumbers) -> DrawnNumbers:
    """The drawn numbers with the class's size at the weak end of the table, and the sign as drawn."""
    values = dict(numbers.values)
    table = {one.name: one for one in MAGNITUDES[kind]}
    for name in SIZES[kind].split("|"):
        one = table[name]
        size = one.most if kind in WEAKEST_IS_MOST else one.least
        values[name] = -size if values[name] < 0 else size
    length: Magnitude | None = table.get("length")
    if length is not None and length.unit == "s":
        values["length"] = min(values["length"], LONGEST_S)
    return replace(numbers, values=values)


def trial(
    kind: str, hz: int, index: int, snr_db: float, start_ns: int, after_s: float = REST_S / 2
) -> tuple[list[Measurement], int, int]:
    """The trial's Measurements in the order of their ends, and the span [from_ns, to_ns) of the disturbance.

    Args:
        kind: a class of the table, or `none`.
        hz: 50 (230 V) or 60 (120 V).
        index: another number is another trial.
        snr_db: how far white noise (rms) lies under the fundamental (rms).
        start_ns: UTC of the first sample.
        after_s: steady voltage after it.
    """
    draws = KeyedDraws("opq trigger trial", kind, hz, index)
    nominal_v = NOMINAL_V[hz]
    ground = {one.name: draws.magnitude(one) for one in BACKGROUND if one.name != "phase of each"}
    orders = [Harmonic(order, ground[f"order {order}"], draws.uniform(0.0, 360.0)) for order in (3, 5, 7)]
    wave = Wave(nominal_v * ground["voltage"] / 100, tuple(orders))
    grid = Grid(hz + ground["frequency"], phase_cycles=ground["phase at sample 0"] / 360)
    begins_s = REST_S + draws.uniform()
    disturbances = []
    if kind != "none":
        numbers = weakest(kind, draw_numbers(kind, draws, hz, nominal_v, ground["voltage"] / 100))
        disturbances = [replace(MAKERS[kind](numbers), start_s=begins_s)]
    mains = Mains(rate_hz=RATE_HZ, grid=grid, wave=wave, disturbances=tuple(disturbances))
    end_s = max([one.stop_s + one.disturbance.tail_s() for one in mains.placed], default=begins_s)
    count = round((end_s + after_s) * RATE_HZ)
    t_s = np.arange(count) / RATE_HZ
    volts = mains.clean_v(t_s) + mains.wave.fundamental_v * 10 ** (-snr_db / 20) * draws.noise(count, 0)
    for stream, one in enumerate(mains.placed, start=1):
        burst_v = one.disturbance.noise_v(mains.wave)
        if burst_v and (inside := one.during(t_s)) is not None:
            volts[inside] += burst_v * draws.noise(count, stream)[inside]
    v_per_lsb = FULL_SCALE * nominal_v / 32768
    counts = np.clip(np.rint(volts / v_per_lsb), -32768, 32767).astype(np.int16)
    found = measured(counts, v_per_lsb, nominal_v, float(hz), start_ns)
    return found, start_ns + round(begins_s * 1e9), start_ns + round(end_s * 1e9)


def measured(
    counts: "np.ndarray[tuple[int], np.dtype[np.int16]]",
    v_per_lsb: float,
    nominal_v: float,
    nominal_hz: float,
    start_ns: int,
) -> list[Measurement]:
    """What a gateway sends of these samples, in order of their ends: a Measurement a second, the crossings of
    its Box, and what its detectors find."""
    made: list[Measurement] = []

    def keep(each: Measured) -> None:
        made.append(each.measurement)

    def drop(*_: object) -> None:
        return

    def keep_edge(found: Measurement, _: int) -> None:
        made.append(found)

    plan = MeasuringPlan("1", nominal_v, nominal_hz, cycles=round(nominal_hz), flicker=False, detectors=True)
    meter = BoxMeter(plan, Sinks(keep, drop, drop, drop, drop, lambda: False, keep_edge))
    crossings = SampleCrossings(nominal_v, nominal_hz)
    rate_millihz = RATE_HZ * 1000
    for first in range(0, len(counts), RATE_HZ):
        block = SampleBlock(
            1,
            v_per_lsb,
            first,
            start_ns + first * 10**12 // rate_millihz,
            UNCERTAINTY_NS,
            TimeSource.GPS,
            rate_millihz,
            counts[first : first + RATE_HZ],
        )
        for crossing in crossings.crossings_of(block):
            measurement = crossing_measurement(crossing, "1", RATE_HZ, nominal_v, nominal_hz)
            made += [] if measurement is None else [measurement]
        meter.push_blocks([block])
        _measure(meter, nominal_v)
    return sorted(made, key=_ended_ns)


def _measure(meter: BoxMeter, nominal_v: float) -> None:
    cut_all([meter])
    steps = meter.steps()
    windows: Sequence[Window] = [step for step in steps if isinstance(step, Window)]
    meter.finish(steps, iter(figures_of(windows, [nominal_v] * len(windows))))


def _ended_ns(measurement: Measurement) -> int:
    return measurement.end_ns or 0
