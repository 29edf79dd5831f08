"""`opq-tools plugin test` for triggers and analyses: what they take, as the samples describe it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from opq_plugins.host.plugins import Plugins
from opq_plugins.sdk.nouns import Item, ItemBatch
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import (
    TREND_MS,
    BoxHistory,
    Course,
    Event,
    Finding,
    History,
    HistoryRequest,
    Incident,
    Measurement,
    Message,
    Metric,
    Phenomenon,
    StoredFinding,
    TimeSource,
    Trend,
    Waveform,
)
from opq_proto.time_units import DAY_NS

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
    """Tests an analysis with its cases in order: one Event of one Box each, or one item of what it takes."""
    what, nominal = f"analysis {symbol}", _nominal(about)
    results = _refusals(what, plugins.analysis(symbol), about)
    analysis = plugins.analysis(symbol)()
    if wrong := _wrong(lambda: analysis.configure(about.get("settings", {}))):
        return results | {f"{what} configures": wrong}
    takes, gives = analysis.declared()
    for number, case in enumerate(about.get("cases", [])):

        def finds(number: int = number, case: dict[str, Any] = case) -> str:
            if takes == Event.__name__:
                found = analysis.analyse(event_of(case, number, nominal.hz), nominal.volts, nominal.hz)
                return _differs(found, case)
            if takes == History.__name__:
                item: Item = history_of(case, analysis.reads(), nominal)
            else:
                item = _ITEMS[takes](case, number)
            batch = ItemBatch.of(takes, [item])
            result = analysis.analyse_items(batch, nominal.volts, nominal.hz)
            if result.failed:
                return result.error
            given: dict[str, Sequence[Finding | Phenomenon | Message]]
            given = {Finding.__name__: result.findings, Phenomenon.__name__: result.phenomena}
            return _differs(given.get(gives, result.messages), case)

        results[f"{what}, {takes.lower()} {number + 1}"] = _result_of(finds)
    analysis.close()
    return results


def _differs(found: Sequence[Finding | Phenomenon | Message], case: dict[str, Any]) -> str:
    """Returns what is wrong with the results of a case; "" where nothing is."""
    want = int(case.get("finds", 0))
    if len(found) == want:
        return ""
    shown = "; ".join(
        json.dumps(one.values) if isinstance(one, Message) else f"{one.kind}: {one.because}" for one in found
    )
    return f"gave {len(found)} ({shown}); want {want}"


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


def trend_of(case: dict[str, Any], number: int) -> Trend:
    """Makes the minute of a case; `metrics` and `box` as in `measurement_of`."""
    row = measurement_of(case, number)
    metrics = {key: (one.min, one.max, one.average) for key, one in row.metrics.items()}
    return Trend(row.box_id, START_NS // 10**6 // TREND_MS * TREND_MS + number * TREND_MS, metrics)


def finding_of(case: dict[str, Any], number: int) -> Finding:
    """Makes the finding of a case: `kind`, `box`, `start_s` and `end_s`, `residual_percent`."""
    start_s = float(case.get("start_s", number))
    start_ns, end_ns = (
        START_NS + round(1e9 * float(at_s)) for at_s in (start_s, case.get("end_s", start_s + 0.1))
    )
    return Finding(
        str(case.get("kind", "sag")),
        str(case.get("box", 1)),
        start_ns,
        end_ns,
        1000,
        residual_percent=case.get("residual_percent"),
    )


def incident_of(case: dict[str, Any], number: int) -> Incident:
    """Makes the incident of a case: one finding as in `finding_of` at each of `boxes`."""
    boxes = tuple(str(box) for box in case.get("boxes", [1]))
    found = [finding_of({**case, "box": box}, number) for box in boxes]
    stored = tuple(StoredFinding(at + 1, number + 1, number + 1, one) for at, one in enumerate(found))
    first = found[0]
    return Incident(
        number + 1,
        first.kind,
        boxes,
        (number + 1,),
        first.start_ns,
        first.end_ns,
        True,
        first.residual_percent,
        stored,
        severity=case.get("severity"),
    )


def history_of(case: dict[str, Any], request: HistoryRequest, nominal: Nominal) -> History:
    """Makes the History of a case, of one Box; `courses`: quantity -> list of [number, value].

    What follows is not known.
    """
    runs = case.get("courses", {})
    start_ns = START_NS // DAY_NS * DAY_NS
    end_ns = start_ns + request.days * DAY_NS
    courses = []
    for names, length_ms in ((request.intervals, request.interval_ms), (request.trends, request.trend_ms)):
        count = (end_ns - start_ns) // (length_ms * 1_000_000)
        for name in names:
            given = runs.get(name, [])
            known = np.repeat([float(value) for _, value in given], [int(many) for many, _ in given])[:count]
            values = np.concatenate((known, np.full(count - len(known), np.nan)))
            courses.append(Course(name, length_ms, start_ns, values, np.zeros(count, np.bool_)))
    box_id = str(case.get("box", 1))
    box = BoxHistory(box_id, nominal.volts, nominal.hz, tuple(courses))
    return History(start_ns, end_ns, (box,), (box_id,))


_ITEMS: dict[str, Callable[[dict[str, Any], int], Item]] = {
    "Measurement": measurement_of,
    "Trend": trend_of,
    "Finding": finding_of,
    "Incident": incident_of,
}


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
            result = "it was accepted"
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
