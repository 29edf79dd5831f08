"""The flickermeter of pqopen-lib, alone: it has the 230 V lamp at 50 Hz and nothing else.

It wants the rms of each half cycle beside the samples, which its own power system computes; here it is
given the true one, so that its figures are those of its flickermeter and of nothing before it.
"""

import time
from collections.abc import Iterable

import numpy as np

from opq_measure.signal import FloatArray
from opq_tools.benchmarks.peer import MISSING, NoPeerError

NOMINAL_HZ = 50.0


def peer_pst(
    blocks: Iterable[FloatArray], rate_hz: float, nominal_v: float, run_in_s: float
) -> tuple[float, float]:
    """Pst behind the run-in, and CPU seconds; a block is some whole cycles of 50 Hz.

    Raises:
        NoPeerError: it is not installed.
    """
    try:
        from pqopen.powerquality import VoltageFluctuation
    except ImportError as error:
        raise NoPeerError(MISSING) from error
    meter = VoltageFluctuation(samplerate=rate_hz, nominal_volt=nominal_v, nominal_freq=NOMINAL_HZ)
    first, cpu_s = 0, 0.0
    half = round(rate_hz / NOMINAL_HZ / 2)
    for block in blocks:
        half_v = np.sqrt((block * block).reshape(-1, half).mean(axis=1))
        began = time.process_time()
        meter.process(first, half_v, block)
        cpu_s += time.process_time() - began
        first += len(block)
    began = time.process_time()
    pst = meter.calc_pst(round(run_in_s * rate_hz), first)
    return float(pst), cpu_s + time.process_time() - began
