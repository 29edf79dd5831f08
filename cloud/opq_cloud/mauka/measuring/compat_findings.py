"""Findings exactly as the original's plug-ins make them, for analyses with `compat = true`. Pure.

Frequency variation, IEEE 1159 voltage with ITIC and SEMI F47, THD and transients, on the original's cycles of
200 samples, 120 V and 60 Hz whatever the Box's nominal values are (docs/reference/opq-interop.md E.2, E.3).
One finding corresponds to one incident of the original. The verdicts of ITIC and SEMI F47, which are separate
incidents there, are the worst of the constant pieces that a finding overlaps.
"""

from collections.abc import Callable, Iterator

import numpy as np

from opq_cloud.mauka.measuring.compat_transients import TransientSettings, original_transients
from opq_measure.original.cycles import CYCLE_SAMPLES, cycle_thd_percent, fitted_cycles_hz, window_rms_v
from opq_measure.original.runs import (
    NOMINAL_V,
    ConstantPiece,
    CycleRun,
    constant_pieces,
    ieee1159_runs,
    runs_within,
)
from opq_measure.signal import FloatArray
from opq_proto.messages import Event, Finding, Waveform

NOMINAL_HZ = 60.0
HIGHEST_HZ = 1e6
CYCLES_PER_MS = 0.06
_ITIC_ORDER = ("no_interruption_in_function", "no_damage", "prohibited")


def original_voltages(event: Event) -> tuple[Finding, ...]:
    """Finds what Ieee1159VoltagePlugin, IticPlugin and SemiF47Plugin find."""
    return _in_order(event, _voltages)


def original_frequencies(
    event: Event, low_hz: float, high_hz: float, least_cycles: int
) -> tuple[Finding, ...]:
    """Finds what FrequencyVariationPlugin finds; inclusive limits; its `min_incident_len_c`."""
    return _in_order(event, lambda run: _frequencies(run, low_hz, high_hz, least_cycles))


def original_thd(event: Event, threshold_percent: float) -> tuple[Finding, ...]:
    """Finds what ThdPlugin finds: each run of cycles with this THD or more."""
    return _in_order(event, lambda run: _thd(run, threshold_percent))


def original_transient_findings(event: Event, settings: TransientSettings) -> tuple[Finding, ...]:
    """Finds what TransientPlugin finds; `figures` have its metadata under its names."""
    return _in_order(event, lambda run: _transients(run, settings))


def _in_order(event: Event, find: Callable[[Waveform], Iterator[Finding]]) -> tuple[Finding, ...]:
    found = [each for wave in event.waveforms for run in wave.runs() for each in find(run)]
    return tuple(sorted(found, key=lambda each: each.start_ns))


def _voltages(run: Waveform) -> Iterator[Finding]:
    rms_v = window_rms_v(run.volts)
    if not len(rms_v):
        return
    furthest_v = float(rms_v[np.argmax(np.abs(rms_v - NOMINAL_V))])  # of the whole waveform, as there
    pieces = constant_pieces(rms_v)
    for found in ieee1159_runs(rms_v):
        met = [each for each in pieces if each.start < found.stop and found.start < each.stop]
        words = found.name.replace(":", " ").lower()
        yield _finding(
            run,
            found.start,
            found.stop,
            _kind(found),
            f"the original's {words}, {len(found)} cycles",
            residual_v=furthest_v,
            residual_percent=100 * furthest_v / NOMINAL_V,
            ieee1159=words,
            itic=max((each.itic for each in met), key=_ITIC_ORDER.index, default=None),
            semi_f47=_f47(met),
        )


def _kind(found: CycleRun) -> str:
    return found.name.rpartition(":")[2].lower()


def _f47(met: list[ConstantPiece]) -> str:
    return "fail" if any(each.semi_f47 for each in met) else "pass"


def _frequencies(run: Waveform, low_hz: float, high_hz: float, least_cycles: int) -> Iterator[Finding]:
    hz = fitted_cycles_hz(run.volts, run.rate_hz)
    for low, high in ((0.0, low_hz), (high_hz, HIGHEST_HZ)):
        for start, stop in runs_within(hz, low, high):
            if stop - start >= least_cycles:
                deviation_hz = float(np.max(hz[start:stop])) - NOMINAL_HZ  # the largest also below, as there
                because = f"the original's variation: {stop - start} cycles within {low:g} to {high:g} Hz"
                yield _finding(
                    run,
                    start,
                    stop,
                    "frequency_deviation",
                    because,
                    "FREQUENCY",
                    figures=(("deviation_hz", deviation_hz),),
                )


def _thd(run: Waveform, threshold_percent: float) -> Iterator[Finding]:
    percent: FloatArray = cycle_thd_percent(run.volts)
    for start, stop in runs_within(percent, threshold_percent, np.inf):
        most = float(np.max(percent[start:stop]))
        because = f"the original's THD: {threshold_percent:g} % or more in each of {stop - start} cycles"
        yield _finding(run, start, stop, "harmonics", because, figures=(("thd_percent", most),))


_TRANSIENT_KINDS = {"impulsive": "impulsive_transient", "periodic_notching": "periodic_notching"}
"""Others are nearest to oscillatory ones; the original's name is in the document."""


def _transients(run: Waveform, settings: TransientSettings) -> Iterator[Finding]:
    for found in original_transients(run.volts, settings):
        what = "additional zero crossings" if found.name is None else found.name.replace("_", " ")
        yield Finding(
            _TRANSIENT_KINDS.get(found.name or "", "oscillatory_transient"),
            run.box_id,
            run.time_ns(found.start),
            run.time_ns(found.stop),
            run.uncertainty_ns,
            found.stop < len(run.counts),
            because=f"the original's {what}: {found.peak_v:.4g} V beside the low pass at most",
            measurement_type="TRANSIENT",
            figures=(("peak_v", found.peak_v), *found.metadata.items()),
        )


def _finding(
    run: Waveform,
    start: int,
    stop: int,
    kind: str,
    because: str,
    measurement_type: str = "VOLTAGE",
    *,
    residual_v: float | None = None,
    residual_percent: float | None = None,
    ieee1159: str | None = None,
    itic: str | None = None,
    semi_f47: str | None = None,
    figures: tuple[tuple[str, float], ...] = (),
) -> Finding:
    """Makes a finding of cycles [start, stop), at 0.06 per millisecond."""
    first, last = (
        run.start_ns + round(start / CYCLES_PER_MS * 1e6),
        round((stop - start) / CYCLES_PER_MS * 1e6),
    )
    return Finding(
        kind,
        run.box_id,
        first,
        first + last,
        run.uncertainty_ns,
        stop * CYCLE_SAMPLES < len(run.counts),
        residual_v,
        residual_percent,
        float(stop - start),
        ieee1159,
        itic,
        semi_f47,
        None,
        because,
        measurement_type,
        figures,
    )
