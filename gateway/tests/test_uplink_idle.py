"""The idle mode: changes and a heartbeat, and nothing that happened is hidden."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from opq_gateway.config import IdleSection
from opq_gateway.uplink.idle import DeadBands
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, Metric, TimeSource

SECOND_NS = 10**9


def window(number: int, low_v: float = 119.9, high_v: float = 120.1, f_hz: float = 60.0) -> Measurement:
    metrics = {
        "rms": Metric(low_v, high_v, (low_v + high_v) / 2),
        "f": Metric(f_hz - 0.001, f_hz + 0.001, f_hz),
        "thd": Metric(0.02, 0.021, 0.0205),
        "trans": Metric(1.0, 1.5, 1.2),
    }
    start_ns = 1_800_000_000 * SECOND_NS + number * SECOND_NS
    end_ns = start_ns + SECOND_NS
    return Measurement(
        "1", end_ns // 10**6, metrics, start_ns, end_ns, 500, TimeSource.GPS, nominal_v=120.0, nominal_hz=60.0
    )


def sent(windows: list[Measurement], heartbeat_s: float = 60.0) -> list[Measurement]:
    bands = DeadBands(IdleSection(heartbeat_s=heartbeat_s))
    return [m for each in windows for m in bands.accept_measurement(each)] + bands.flush()


def test_at_rest_one_row_a_minute_goes() -> None:
    """The first one goes at once."""
    out = sent([window(k) for k in range(181)])
    assert [(m.end_ns - m.start_ns) // SECOND_NS for m in out] == [1, 60, 60, 60]
    assert all(one.end_ns == following.start_ns for one, following in pairwise(out))
    assert out[1].timestamp_ms == out[1].end_ns // 10**6


def test_a_band_keeps_extremes_and_mean() -> None:
    long = replace(window(3, 119.7, 120.3), end_ns=window(5).end_ns)  # three seconds
    out = sent([window(0), window(1, 119.5, 120.2), window(2), long])
    assert len(out) == 2
    rms = out[1].metrics["rms"]
    assert (rms.min, rms.max) == (119.5, 120.3)
    assert np.isclose(rms.average, (119.85 + 120.0 + 3 * 120.0) / 5)
    assert out[1].start_ns == window(1).start_ns and out[1].end_ns == long.end_ns


def test_a_merged_row_has_all_samples() -> None:
    rows = [replace(window(k), first_sample=12_000 * k, samples=12_000, start_id=7) for k in range(4)]
    rows += [
        replace(window(k), first_sample=12_000 * (k - 4), samples=12_000, start_id=8) for k in range(4, 7)
    ]
    out = sent(rows)
    found = [(each.start_id, each.first_sample, each.samples) for each in out]
    assert found == [(7, 0, 12_000), (7, 12_000, 36_000), (8, 0, 36_000)]


def test_a_change_sends_the_held_row_first() -> None:
    windows = [window(k) for k in range(10)]
    windows[5] = window(5, low_v=80.0)
    bands = DeadBands(IdleSection())
    out = [bands.accept_measurement(each) for each in windows]
    assert [len(each) for each in out[:7]] == [1, 0, 0, 0, 0, 2, 1]
    before, change = out[5]
    assert change is windows[5] and (before.start_ns, before.end_ns) == (
        windows[1].start_ns,
        windows[4].end_ns,
    )
    assert before.metrics["rms"].min == 119.9


def test_slow_drift_is_seen_against_the_last() -> None:
    windows = [window(k, f_hz=60.0 + k * 0.003) for k in range(30)]
    changes = [m for m in sent(windows, heartbeat_s=3600.0) if m.end_ns - m.start_ns == SECOND_NS]
    assert 4 <= len(changes) <= 6


def test_an_unlike_row_is_not_joined() -> None:
    out = sent([window(0), window(1), window(9), window(10)])
    assert [(m.start_ns, m.end_ns) for m in out[1:]] == [
        (window(1).start_ns, window(1).end_ns),
        (window(9).start_ns, window(10).end_ns),
    ]
    free = replace(window(2), source=TimeSource.FREE)
    assert sent([window(0), window(1), free])[-1] is free
    less = replace(window(2), metrics={"rms": window(2).metrics["rms"]})
    assert sent([window(0), window(1), less])[-1] is less


def test_a_lost_supply_goes_at_once() -> None:
    def said(number: int, supply_v: float) -> Measurement:
        plain, volts = window(number), {"supply_v": supply_v, "battery_v": 4.0}
        return replace(plain, metrics={**plain.metrics, **{k: Metric(v, v, v) for k, v in volts.items()}})

    windows = [window(0), said(1, 5.0), window(2), said(3, 0.0), said(4, 0.0), said(5, 5.0)]
    assert [m.end_ns for m in sent(windows)] == [windows[at].end_ns for at in (0, 2, 3, 4, 5)]


def test_a_crossing_passes_and_changes_nothing() -> None:
    bands = DeadBands(IdleSection())
    crossing = replace(window(2), crossing=True, metrics={"rms": Metric(70.0, 70.0, 70.0)})
    assert bands.accept_measurement(window(0)) and not bands.accept_measurement(window(1))
    assert bands.accept_measurement(crossing) == [crossing]
    assert not bands.accept_measurement(window(2))


def test_every_heartbeat_covers_all_measured() -> None:
    random = np.random.default_rng(7)
    windows, number = [], 0
    for _ in range(2000):
        number += 1 + (random.random() < 0.01)
        f_hz = 60.0 + 0.03 * float(np.sin(number / 90))
        windows.append(window(number, 119.9 - 30 * float(random.random() < 0.005), 120.1, f_hz))
    out = sent(windows, heartbeat_s=3600.0)
    assert len(out) < len(windows) / 5
    for m in out:
        assert measurement_from_wire(measurement_to_wire(m)).end_ns == m.end_ns
    covered = [m for m in out for each in windows if m.start_ns <= each.start_ns and each.end_ns <= m.end_ns]
    assert len(covered) == len(windows)
    assert min(m.metrics["rms"].min for m in out) == min(m.metrics["rms"].min for m in windows)
