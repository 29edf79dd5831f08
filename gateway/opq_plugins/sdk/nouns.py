"""Measurements, Events, Decisions and Findings on their way between host and worker, as plain MessagePack.

A worker is not believed: what it sends is checked field by field, type and bounds. Never pickle.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

import numpy as np

from opq_proto.decision import Decision, Nominal
from opq_proto.messages import Event, Finding, Gap, Measurement, Metric, TimeSource, Waveform

COUNTS = np.dtype("<i2")
INT64 = range(-(2**63), 2**63)
MOST_NS = 2**62
"""So that what is asked for around a span has its place in 64 bits too."""
LONGEST_NS = 3600 * 10**9
MAX_FINDINGS = 10_000
"""Of one event."""
MAX_NAME, MAX_TEXT = 64, 2000
"""Characters of a name (metric, kind, class) and of a sentence."""
MEASUREMENT_TYPES = ("VOLTAGE", "FREQUENCY", "THD", "TRANSIENT", "HEALTH")


def plain_measurement(measurement: Measurement) -> dict[str, Any]:
    """Its fields; metric -> [min, max, average]."""
    metrics = {key: [each.min, each.max, each.average] for key, each in measurement.metrics.items()}
    fields = {name: getattr(measurement, name) for name in measurement.__slots__ if name != "metrics"}
    return {**fields, "source": int(measurement.source), "metrics": metrics}


def measurement_of(plain: Mapping[str, Any]) -> Measurement:
    metrics = {key: Metric(*each) for key, each in plain["metrics"].items()}
    return Measurement(**{**plain, "metrics": metrics, "source": TimeSource(plain["source"])})


def plain_nominal(nominal: Nominal) -> list[float]:
    return [nominal.volts, nominal.hz]


def plain_event(event: Event) -> dict[str, Any]:
    """Counts as bytes: int16, little-endian."""
    waves = []
    for wave in event.waveforms:
        fields = {name: getattr(wave, name) for name in wave.__slots__}
        fields["source"] = int(wave.source)
        fields["counts"] = np.ascontiguousarray(wave.counts, COUNTS).tobytes()
        fields["gaps"] = [[gap.first_sample, gap.samples, gap.reason] for gap in wave.gaps]
        waves.append(fields)
    return {
        "event_id": event.event_id,
        "start_ns": event.start_ns,
        "end_ns": event.end_ns,
        "missing": dict(event.missing),
        "waveforms": waves,
    }


def event_of(plain: Mapping[str, Any]) -> Event:
    waves = tuple(
        Waveform(
            **{
                **fields,
                "source": TimeSource(fields["source"]),
                "counts": np.frombuffer(fields["counts"], COUNTS),
                "gaps": tuple(Gap(*each) for each in fields["gaps"]),
            }
        )
        for fields in plain["waveforms"]
    )
    return Event(**{**plain, "waveforms": waves})


def plain_decision(decision: Decision | None) -> dict[str, Any] | None:
    return None if decision is None else asdict(decision)


def plain_findings(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    return [
        {key: value.item() if isinstance(value, np.generic) else value for key, value in asdict(each).items()}
        for each in findings
    ]


def checked_decision(decision: Any) -> Decision | None:
    """The same in plain numbers. Raises TypeError, ValueError: none, or a field out of its bounds."""
    if decision is None:
        return None
    if not isinstance(decision, Decision):
        raise TypeError(f"decide() gave {type(decision).__name__}; want a Decision or None")
    _finite(decision, ("value", "limit"))
    _short(decision, {"metric": MAX_NAME, "because": MAX_TEXT})
    span_ns = None
    if decision.span_ns is not None:
        start_ns, end_ns = span_ns = int(decision.span_ns[0]), int(decision.span_ns[1])
        if not 0 <= start_ns <= end_ns < MOST_NS or end_ns - start_ns > LONGEST_NS:
            raise ValueError(f"gave a Decision with span_ns {span_ns}; want start before end, at most 1 h")
    value, limit = float(decision.value), float(decision.limit)
    return replace(decision, value=value, limit=limit, span_ns=span_ns)


def checked_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """As a tuple. Raises TypeError, ValueError: too many, or one with a field out of its bounds."""
    if len(findings) > MAX_FINDINGS:
        raise ValueError(f"gave {len(findings)} findings of one event; at most {MAX_FINDINGS}")
    for finding in findings:
        _finite(finding, ("residual_v", "residual_percent", "duration_cycles", "confidence"))
        short = dict.fromkeys(("kind", "box_id", "ieee1159", "itic", "semi_f47"), MAX_NAME)
        _short(finding, short | {"because": MAX_TEXT})
        for name in ("start_ns", "end_ns", "uncertainty_ns"):
            if getattr(finding, name) not in INT64:
                raise ValueError(f"gave a finding with {name} {getattr(finding, name)}; want 64 bits")
        if finding.measurement_type not in MEASUREMENT_TYPES:
            want = ", ".join(MEASUREMENT_TYPES)
            raise ValueError(
                f"gave a finding of measurement_type {finding.measurement_type[:80]!r}; want {want}"
            )
    return tuple(findings)


def _finite(given: Any, names: Iterable[str]) -> None:
    for name in names:
        value = getattr(given, name)
        if value is not None and not isfinite(value):
            raise ValueError(f"gave a {type(given).__name__} with {name} {value}; want a number")


def _short(given: Any, most: Mapping[str, int]) -> None:
    for name, length in most.items():
        text = getattr(given, name)
        if text is not None and not isinstance(text, str):
            raise TypeError(f"gave a {type(given).__name__} with {name} {type(text).__name__}; want text")
        if text is not None and len(text) > length:
            raise ValueError(
                f"gave a {type(given).__name__} with {name} of {len(text)} characters; at most {length}"
            )
