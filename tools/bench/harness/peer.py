"""The peer that the measurement core is compared with: pqopen-lib from PyPI (extra `bench`).

It is fed block by block into one channel buffer, with harmonics and its trapezoidal rms on. Its zero
crossings settle over a second, so SETTLE_S is left out of every figure.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from opq_measure.signal import FloatArray
from opq_proto.errors import OpqError
from opq_sim.mains.truth import Truth

if TYPE_CHECKING:
    from daqopen.channelbuffer import AcqBuffer
    from pqopen.powersystem import PowerSystem


SETTLE_S = 2.0
BLOCK_S = 0.2
MISSING = "pqopen-lib is not installed: pip install 'opq-toolkit[bench]'"


class NoPeerError(OpqError):
    """The peer is not installed, so there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class PeerFigures:
    """The peer's figures of a signal after SETTLE_S, and its cost.

    `cycle_hz` (c,), `cycle_v` (c,), `half_v` (2 c,) rms of single half cycles, `window_v` (w,),
    `thd_percent` (w,), `orders_v` (w, 51) rms by order.
    """

    cycle_hz: FloatArray
    cycle_v: FloatArray
    half_v: FloatArray
    window_v: FloatArray
    thd_percent: FloatArray
    orders_v: FloatArray
    cpu_ms_per_s: float


@dataclass(frozen=True, slots=True)
class MeasuredDip:
    """Samples at which a dip begins and ends, and its residual."""

    start: float
    stop: float
    residual_v: float


def measured(volts: FloatArray, rate_hz: float, nominal_hz: float) -> PeerFigures:
    """Runs the peer over a signal.

    Raises:
        NoPeerError: it is not installed.
    """
    channel, system = _system(len(volts), rate_hz, nominal_hz)
    block = round(BLOCK_S * rate_hz)
    began = time.process_time()
    for first in range(0, len(volts), block):
        channel.put_data(volts[first : first + block])
        system.process()
    cpu_s = time.process_time() - began
    start = round(SETTLE_S * rate_hz)

    def column(name: str) -> FloatArray:
        values, at = system.output_channels[name].read_data_by_acq_sidx(0, len(volts))
        return np.asarray(values, dtype=np.float64)[np.asarray(at) >= start]

    return PeerFigures(
        cycle_hz=column("Freq"),
        cycle_v=column("U1_1p_rms"),
        half_v=column("U1_hp_rms"),
        window_v=column("U1_rms"),
        thd_percent=column("U1_THD"),
        orders_v=column("U1_H_rms"),
        cpu_ms_per_s=1e3 * cpu_s * rate_hz / len(volts),
    )


def errors(volts: FloatArray, truth: Truth, rate_hz: float, nominal_hz: float) -> Mapping[str, FloatArray]:
    """The peer's errors by quantity, as `measure.errors_of`; its shortest frequency is that of a cycle."""
    found = measured(volts, rate_hz, nominal_hz)
    frequency_hz = float(truth.frequency_hz(np.zeros(1))[0])
    per_second = round(frequency_hz)
    whole = found.cycle_hz[: len(found.cycle_hz) // per_second * per_second].reshape(-1, per_second)
    orders = found.orders_v[:, 1:] / found.orders_v[:, 1:2]
    return {
        "second_hz": per_second / (1 / whole).sum(axis=1) - frequency_hz,
        "cycle_hz": found.cycle_hz - frequency_hz,
        "cycle_v": found.cycle_v / truth.rms_v - 1,
        "half_v": found.half_v / truth.rms_v - 1,
        "window_v": found.window_v / truth.rms_v - 1,
        "thd": (found.thd_percent - truth.thd_percent) / 100,
        "orders": (orders[:, 1:] - np.abs(truth.ratios)[1 : orders.shape[1]]).ravel(),
    }


def dip(
    volts: FloatArray, rate_hz: float, nominal_hz: float, enter_v: float, hysteresis_v: float
) -> MeasuredDip | None:
    """The first dip in the peer's Urms(1/2), by its own event detector; None when it found none.

    Raises:
        NoPeerError: it is not installed.
    """
    channel, system = _system(len(volts), rate_hz, nominal_hz)
    from pqopen.eventdetector import EventDetectorLevelLow

    channel.put_data(volts)
    system.process()
    found = EventDetectorLevelLow(
        limit=enter_v, threshold=hysteresis_v, observed_channel=system.output_channels["U1_1p_hp_rms"]
    ).process(0, len(volts))
    if not found or found[0]["stop_sidx"] is None:
        return None
    event = found[0]
    return MeasuredDip(float(event["start_sidx"]), float(event["stop_sidx"]), float(event["extrem_value"]))


def _system(samples: int, rate_hz: float, nominal_hz: float) -> "tuple[AcqBuffer, PowerSystem]":
    try:
        from daqopen.channelbuffer import AcqBuffer
        from pqopen.powersystem import PowerSystem
    except ImportError as error:
        raise NoPeerError(MISSING) from error
    channel = AcqBuffer(size=samples + 1)
    system = PowerSystem(
        zcd_channel=channel,
        input_samplerate=rate_hz,
        zcd_cutoff_freq=nominal_hz,
        nominal_frequency=nominal_hz,
        nper=round(nominal_hz / 5),
    )
    system.add_phase(u_channel=channel)
    system.enable_harmonic_calculation(50)
    system.enable_rms_trapz_rule()
    return channel, system
