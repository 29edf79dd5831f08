"""`opq-tools plugin test` for triggers and analyses: Measurements and Events as the samples describe them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from opq_plugins.host.plugins import Plugins
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Measurement, Metric, TimeSource, Waveform

RATE_HZ = 12_000
V_PER_LSB = 0.02
START_NS = 1_700_000_000 * 10**9
WINDOW_NS = 200_000_000


def trial_trigger(plugins: Plugins, symbol: str, about: dict[str, Any]) -> dict[str, str]:
    """Tests a trigger with its cases in order: one Measurement each, 200 ms after the one before."""
    what, nominal = f"trigger {symbol}", _nominal(about)
    results = _refusals(what, plugins.trigger(symbol), about)
    trigger = plugins.trigger(symbol)()
    if wrong := _wrong(lambda: trigger.configure(about.get("settings", {}))):
        return results | {f"{what} configures": wrong}
    for number, case in enumerate(about.get("cases", [])):

        def decides(number: int = number, case: dict[str, Any] = case) -> str:
            decision = trigger.decide(measurement_of(case, number), nominal)
            want = bool(case.get("decides", False))
            return "" if (decision is not None) is want else f"gave {decision}; want decides = {want}"

        results[f"{what}, measurement {number + 1}"] = _result_of(decides)
    trigger.close()
    return results


def trial_analysis(plugins: Plugins, symbol: str, about: dict[str, Any]) -> dict[str, str]:
    """Tests an analysis with its cases in order: one Event of one Box each."""
    what, nominal = f"analysis {symbol}", _nominal(about)
    results = _refusals(what, plugins.analysis(symbol), about)
    analysis = plugins.analysis(symbol)()
    if wrong := _wrong(lambda: analysis.configure(about.get("settings", {}))):
        return results | {f"{what} configures": wrong}
    for number, case in enumerate(about.get("cases", [])):

        def finds(number: int = number, case: dict[str, Any] = case) -> str:
            found = analysis.analyse(event_of(case, number, nominal.hz), nominal.volts, nominal.hz)
            want = int(case.get("finds", 0))
            findings = "; ".join(f"{each.kind}: {each.because}" for each in found)
            return "" if len(found) == want else f"gave {len(found)} findings ({findings}); want {want}"

        results[f"{what}, event {number + 1}"] = _result_of(finds)
    analysis.close()
    return results


def measurement_of(case: dict[str, Any], number: int) -> Measurement:
    """Makes the Measurement of a case; `metrics`: key -> a number, or [min, max, average]; `box`: its id."""
    metrics = {
        str(key): Metric(*(map(float, value if isinstance(value, list) else [value] * 3)))
        for key, value in case.get("metrics", {}).items()
    }
    start_ns = START_NS + number * WINDOW_NS
    end_ns = start_ns + WINDOW_NS
    box_id = str(case.get("box", 1))
    return Measurement(box_id, end_ns // 10**6, metrics, start_ns, end_ns, source=TimeSource.GPS)


def event_of(case: dict[str, Any], number: int, hz: float) -> Event:
    """Makes the Event of a case: a sine of `hz`; `cycles`: list of [number, rms volts]; `box`: its id."""
    parts = [(float(cycles), float(volts)) for cycles, volts in case.get("cycles", [])]
    lengths = [round(cycles * RATE_HZ / hz) for cycles, _ in parts]
    rms_v = np.repeat([volts for _, volts in parts], lengths)
    volts = rms_v * np.sqrt(2) * np.sin(2 * np.pi * hz / RATE_HZ * np.arange(len(rms_v)))
    counts = np.clip(np.round(volts / V_PER_LSB), -32768, 32767).astype(np.int16)
    box_id = str(case.get("box", 1))
    wave = Waveform(box_id, START_NS, 0, TimeSource.GPS, RATE_HZ * 1000, V_PER_LSB, 0, counts)
    return Event(number + 1, START_NS, wave.end_ns, (wave,))


def _nominal(about: dict[str, Any]) -> Nominal:
    nominal = about.get("nominal", {})
    return Nominal(float(nominal.get("volts", 120.0)), float(nominal.get("hz", 60.0)))


def _refusals(what: str, make: Callable[[], Any], about: dict[str, Any]) -> dict[str, str]:
    results = {}
    for wrong in about.get("refuse", []):
        try:
            make().configure(wrong)
        except ValueError:
            result = "ok"
        except (OSError, PluginError) as error:
            result = f"by {error}; want ValueError with the name of the setting"
        else:
            result = "it was taken"
        results[f"{what} refuses {json.dumps(wrong)}"] = result
    return results


def _result_of(run: Callable[[], str]) -> str:
    try:
        return run() or "ok"
    except (OSError, ValueError, TypeError, PluginError) as error:
        return str(error) or type(error).__name__


def _wrong(run: Callable[[], None]) -> str:
    try:
        run()
    except (OSError, ValueError, PluginError) as error:
        return str(error) or type(error).__name__
    return ""
