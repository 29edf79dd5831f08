"""DeadBands: in idle mode a Measurement is sent when a value leaves its dead-band, and once per heartbeat.
Pure.

Unsent Measurements are merged into one, with the overall minimum and maximum and the mean weighted by time,
which is sent with the heartbeat or right before a change. So Measurements have no gaps, and events are not
hidden. (The gateway's ledger has a value for each 10/12-cycle window.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from opq_gateway.config import IdleSection
from opq_proto.measurement.supply_word import SUPPLY_METRICS, SupplyWord, supply_word
from opq_proto.messages import Measurement, Metric

LONGEST_NS = 100 * 10**9
"""The wire refuses a Measurement of more than 120 s (opq_proto.measurement.invariants.MAX_WINDOW_NS)."""
NOMINAL_V = 120.0
"""Used where the Box does not report its nominal voltage."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """Several Measurements that were not sent, merged into one."""

    measurement: Measurement
    """Minimum and maximum of all; `average` of each metric is still a sum over `weights`."""
    weights: Mapping[str, float]


class DeadBands:
    """The dead bands of one Box; Measurements come in order of time."""

    def __init__(self, config: IdleSection) -> None:
        self._config = config
        self._heartbeat_ns = min(round(config.heartbeat_s * 1e9), LONGEST_NS)
        self._sent: Measurement | None = None
        self._sum: _Sum | None = None

    def accept_measurement(self, measurement: Measurement) -> list[Measurement]:
        """The Measurements to send now, in order."""
        if measurement.crossing:
            return [measurement]
        out = []
        if self._changed(measurement):
            out = [*self.flush(), measurement]
            self._sent = measurement
            return out
        if self._sum is not None and not self._goes_on(self._sum.measurement, measurement):
            out = self.flush()
        self._sum = _added(self._sum, measurement)
        kept = self._sum.measurement
        if _end_ns(kept) - _start_ns(kept) >= self._heartbeat_ns - _length_ns(measurement) // 2:
            out += self.flush()
            self._sent = measurement  # changes are judged against the newest means
        return out

    def flush(self) -> list[Measurement]:
        """The held Measurements, merged into one; empty without held Measurements."""
        kept, self._sum = self._sum, None
        return [] if kept is None else [_whole(kept)]

    def _changed(self, measurement: Measurement) -> bool:
        sent = self._sent
        if sent is None or measurement.source != sent.source:
            return True
        if (measurement.nominal_v, measurement.nominal_hz) != (sent.nominal_v, sent.nominal_hz):
            return True
        if (measurement.metrics.keys() ^ sent.metrics.keys()) - SUPPLY_METRICS:
            return True
        if _is_low(measurement) != _is_low(sent):
            return True
        for key, band in self._bands(measurement.nominal_v or NOMINAL_V).items():
            metric = measurement.metrics.get(key)
            if metric is not None:
                middle = sent.metrics[key].average
                if metric.max > middle + band or metric.min < middle - band:
                    return True
        return False

    def _bands(self, nominal_v: float) -> dict[str, float]:
        config = self._config
        return {
            "rms": nominal_v * config.rms_percent / 100,
            "f": config.f_hz,
            "thd": config.thd_percent / 100,
            "trans": nominal_v * config.trans_percent / 100,
        }

    def _goes_on(self, kept: Measurement, measurement: Measurement) -> bool:
        """Whether the two may be merged: they adjoin, and the result is not too long."""
        apart_ns = abs(_start_ns(measurement) - _end_ns(kept))
        together_ns = _end_ns(measurement) - _start_ns(kept)
        return (
            apart_ns <= _length_ns(measurement) // 100
            and 0 < together_ns <= LONGEST_NS
            and measurement.start_id == kept.start_id
            and measurement.backfilled == kept.backfilled
        )


def _is_low(measurement: Measurement) -> bool:
    return supply_word(measurement.metrics) not in (None, SupplyWord.WELL)


def _start_ns(measurement: Measurement) -> int:
    return _end_ns(measurement) if measurement.start_ns is None else measurement.start_ns


def _end_ns(measurement: Measurement) -> int:
    return measurement.timestamp_ms * 1_000_000 if measurement.end_ns is None else measurement.end_ns


def _length_ns(measurement: Measurement) -> int:
    return _end_ns(measurement) - _start_ns(measurement)


def _added(kept: _Sum | None, measurement: Measurement) -> _Sum:
    weight = max(1.0, float(_length_ns(measurement)))
    metrics = {k: replace(m, average=m.average * weight) for k, m in measurement.metrics.items()}
    weights = dict.fromkeys(metrics, weight)
    if kept is None:
        return _Sum(replace(measurement, metrics=metrics), weights)
    before = kept.measurement
    for key, old in before.metrics.items():
        new = metrics.get(key)
        metrics[key] = (
            old
            if new is None
            else Metric(min(old.min, new.min), max(old.max, new.max), old.average + new.average)
        )
        weights[key] = weights.get(key, 0.0) + kept.weights[key]
    uncertainties = [u for u in (before.uncertainty_ns, measurement.uncertainty_ns) if u is not None]
    counts = before.samples, measurement.samples
    together = replace(
        measurement,
        start_ns=before.start_ns,
        first_sample=before.first_sample,
        samples=None if counts[0] is None or counts[1] is None else counts[0] + counts[1],
        metrics=metrics,
        uncertainty_ns=max(uncertainties, default=None),
    )
    return _Sum(together, weights)


def _whole(kept: _Sum) -> Measurement:
    metrics = {
        key: replace(metric, average=metric.average / kept.weights[key])
        for key, metric in kept.measurement.metrics.items()
    }
    return replace(kept.measurement, metrics=metrics)
