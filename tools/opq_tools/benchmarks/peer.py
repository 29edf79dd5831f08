"""The peer that the measurement core is held against: pqopen-lib from PyPI (extra `bench`).

It is fed block by block into one channel buffer, with harmonics and its trapezoidal rms on. Its zero
crossings settle over a second, so SETTLE_S is left out of every figure.
"""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError

FloatArray = NDArray[np.float64]
SETTLE_S = 2.0
BLOCK_S = 0.2
MISSING = "pqopen-lib is not installed: pip install 'opq-toolkit[bench]'"


class NoPeerError(OpqError):
    """The peer is not installed; the benchmark has nothing to stand beside."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the peer says of a signal behind SETTLE_S, and what it cost.

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


def measured(volts: FloatArray, rate_hz: float, nominal_hz: float) -> Found:
    """Run the peer over a signal.

    Raises:
        NoPeerError: it is not installed.
    """
    try:
        from daqopen.channelbuffer import AcqBuffer
        from pqopen.powersystem import PowerSystem
    except ImportError as error:
        raise NoPeerError(MISSING) from error
    channel = AcqBuffer(size=len(volts) + 1)
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
    block = round(BLOCK_S * rate_hz)
    began = time.process_time()
    for first in range(0, len(volts), block):
        channel.put_data(volts[first : first + block])
        system.process()
    cpu_s = time.process_time() - began
    start = round(SETTLE_S * rate_hz)

    def told(name: str) -> FloatArray:
        values, at = system.output_channels[name].read_data_by_acq_sidx(0, len(volts))
        return np.asarray(values, dtype=np.float64)[np.asarray(at) >= start]

    return Found(
        cycle_hz=told("Freq"),
        cycle_v=told("U1_1p_rms"),
        half_v=told("U1_hp_rms"),
        window_v=told("U1_rms"),
        thd_percent=told("U1_THD"),
        orders_v=told("U1_H_rms"),
        cpu_ms_per_s=1e3 * cpu_s * rate_hz / len(volts),
    )
