"""A dip of hours: two waveforms and the Measurements between them are one incident of its true duration."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.running.events.open_disturbances import PATIENCE_NS
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store import BoxRecord, CloudStore, open_store
from opq_cloud.store.incidents.join_plan import CarriedOut, JoinPlan
from opq_cloud.store.stated_starts import StatedStart
from opq_cloud.view.web import words
from opq_proto.errors import StoreError
from opq_proto.measurement.continuity import GapReason, single
from opq_proto.messages import END_WITHIN_S, Incident, Measurement, Metric, TimeSource, Trigger, Waveform
from opq_proto.wire.half_cycles import HalfCycleRms

S = 10**9
ZERO_NS = 1_795_000_000 * S
RATE_HZ = 12_000
V_PER_LSB = 0.02
NOMINAL_V = 120.0


class LongDip:
    """Boxes at 120 V, at `level_v` from `begin_s` to `end_s`; waveforms and Measurements of it, and Mauka."""

    def __init__(
        self,
        store: CloudStore,
        begin_s: float,
        end_s: float,
        level_v: float = 90.0,
        box_ids: tuple[str, ...] = ("1",),
        back_v: float = NOMINAL_V,
    ) -> None:
        self.box_ids, self.back_v = box_ids, back_v
        self.start_id: int | None = None
        self.store, self.begin_s, self.end_s, self.level_v = store, begin_s, end_s, level_v
        self.now_s = 0.0
        self.runner = self.started()

    def started(self) -> AnalysisRunner:
        analyses = load_analyses([("rms_voltage", {})])
        return AnalysisRunner({}, lambda: self.store, analyses, clock=lambda: self.now_s)

    def event(self, start_s: float, stop_s: float) -> None:
        t_s = start_s + np.arange(round((stop_s - start_s) * RATE_HZ)) / RATE_HZ
        after_v = np.where(t_s < self.end_s, self.level_v, self.back_v)
        peak_v = np.where(t_s < self.begin_s, NOMINAL_V, after_v) * np.sqrt(2)
        counts = np.rint(peak_v * np.sin(2 * np.pi * 60 * t_s) / V_PER_LSB).astype(np.int16)
        start_ns = ZERO_NS + round(start_s * S)
        wave = Waveform(
            "1", start_ns, 1000, TimeSource.GPS, RATE_HZ * 1000, V_PER_LSB, round(start_s * RATE_HZ), counts
        )
        wave = replace(wave, start_id=self.start_id)
        trigger = Trigger(f"t{start_s}", wave.start_ns, wave.end_ns, self.box_ids, "1", "a dip")
        event_id = self.store.open_event(trigger, "")
        for box_id in self.box_ids:
            self.store.put_waveform(event_id, replace(wave, box_id=box_id))
        self.store.finish_event(event_id)
        self.idle()

    def measure(self, first_s: int, last_s: int, high: range = range(0)) -> None:
        """The Measurements of these seconds; in those of `high` the voltage was back for a while."""
        rows = []
        for k in range(first_s, last_s):
            inside = self.begin_s < k + 1 and k < self.end_s
            outside_v = NOMINAL_V if k < self.begin_s else self.back_v
            least_v = self.level_v if inside else outside_v
            most_v = self.level_v if self.begin_s <= k and k + 1 <= self.end_s else outside_v
            most_v = NOMINAL_V if k in high else most_v
            end_ns = ZERO_NS + (k + 1) * S
            rms = Metric(least_v, most_v, least_v)
            rows.append(
                Measurement(
                    "1",
                    end_ns // 10**6,
                    {"rms": rms, "f": Metric(60.0, 60.0, 60.0)},
                    end_ns - S,
                    end_ns,
                    sequence=k,
                )
            )
        self.store.append_measurements([replace(row, box_id=each) for each in self.box_ids for row in rows])

    def idle(self) -> None:
        self.now_s += 130.0  # longer than any of its pauses
        while self.runner.on_idle():
            pass

    def only(self) -> Incident:
        (incident,) = self.store.incidents()
        (item,) = incident.findings
        assert item.finding.start_ns == pytest.approx(ZERO_NS + self.begin_s * S, abs=S / 60)
        return incident


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CloudStore]:
    made = open_store(None, tmp_path / "store")
    yield made
    made.close()


def lasted_s(incident: Incident) -> float:
    return (incident.end_ns - incident.start_ns) / S


def test_two_distant_ends_are_one_undervoltage(store: CloudStore) -> None:
    """An hour and a half lies between them."""
    dip = LongDip(store, begin_s=10.3, end_s=5_400.6)
    dip.measure(0, 20)
    dip.event(9.0, 12.0)
    assert (dip.only().kind, dip.only().closed) == ("sag", False)
    dip.measure(20, 200)
    dip.idle()
    incident = dip.only()
    assert (incident.kind, incident.closed) == ("undervoltage", False), "it grows while it lasts"
    assert lasted_s(incident) == pytest.approx(200 - 10.3, abs=0.02)
    dip.measure(200, 5_403)
    dip.event(5_398.0, 5_402.0)
    incident = dip.only()
    assert (incident.kind, incident.closed, len(incident.event_ids)) == ("undervoltage", True, 2)
    assert lasted_s(incident) == pytest.approx(5_390.3, abs=0.02)
    finding = incident.findings[0].finding
    assert finding.residual_percent == pytest.approx(75.0, abs=0.1)
    assert finding.duration_cycles == pytest.approx(5_390.3 * 60, abs=1.0)
    assert "Measurements" in finding.because
    assert len(dip.runner._open) == 0


def test_boxes_of_one_event_grow_under_one_commit(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=300.6, box_ids=("1", "2", "3"))
    dip.measure(0, 20)
    dip.event(9.0, 12.0)
    plans, carry_out = list[JoinPlan](), store.carry_out

    def noted(plan: JoinPlan) -> CarriedOut | None:
        plans.append(plan)
        return carry_out(plan)

    monkeypatch.setattr(store, "carry_out", noted)
    dip.measure(20, 200)
    dip.idle()
    assert [len(plan.written) for plan in plans] == [3]
    assert dip.runner.counters.total("findings_grown") == 3
    (incident,) = store.incidents()
    assert [lasted_s(incident), len(incident.findings)] == pytest.approx([200 - 10.3, 3], abs=0.02)


def test_a_restart_in_between_changes_nothing(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=300.6)
    dip.measure(0, 150)
    dip.event(9.0, 12.0)
    dip.runner = dip.started()
    dip.runner._open.find_again(ZERO_NS + 150 * S)
    dip.measure(150, 303)
    dip.event(298.0, 302.0)
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(290.3, abs=0.02)


@pytest.mark.parametrize("pause_s", [0, 5, 60])
@pytest.mark.parametrize("back_v", [NOMINAL_V, 90.0])
@pytest.mark.parametrize("again", [StatedStart(50, 8, 230.0, 50.0), StatedStart(50, 8, NOMINAL_V, 60.0)])
def test_an_open_dip_ends_with_its_start(
    store: CloudStore, again: StatedStart, back_v: float, pause_s: int
) -> None:
    """Its end is not measured: it lies between the last row of its start and the first of the next."""
    dip = LongDip(store, begin_s=10.3, end_s=50.0, back_v=back_v)
    dip.start_id = 7
    dip.measure(0, 12)
    dip.event(9.0, 12.0)
    starts = StatedStart(0, 7, NOMINAL_V, 60.0), replace(again, first_number=50 + pause_s)
    store.put_box(BoxRecord("1", "", nominal_v=again.nominal_v, starts=starts))
    dip.runner = dip.started()
    dip.runner._open.find_again(ZERO_NS + 250 * S)
    dip.measure(12, 50)
    dip.measure(50 + pause_s, 750)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(50.0 - 10.3, abs=0.02)
    figures = dict(incident.findings[0].finding.figures)
    assert figures.get(END_WITHIN_S, 0.0) == pytest.approx(pause_s, abs=0.02)


def test_joined_parts_end_together(store: CloudStore) -> None:
    """They became one while they grew."""
    dip = LongDip(store, begin_s=10.3, end_s=60.6)
    dip.event(30.0, 33.0)
    dip.event(9.0, 12.0)
    assert len(store.incidents()) == 2
    dip.measure(0, 200)
    dip.runner = dip.started()
    dip.runner._open.find_again(ZERO_NS + 200 * S)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(50.7, abs=1.0)
    assert dip.runner.counters.total("failures") == 0


def test_measurements_close_a_dip_without_waveform(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=200.6)
    dip.measure(0, 205)
    dip.event(9.0, 12.0)
    dip.idle()
    assert not dip.only().closed, "a waveform of its end may still come"
    dip.measure(205, 205 + PATIENCE_NS // S)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(190.3, abs=1.0)
    assert "its end is known to a second" in incident.findings[0].finding.because


def test_the_onsets_measurement_shows_no_end(store: CloudStore) -> None:
    """Its voltage was within the limit before the dip, and the waveform ends within the same second."""
    dip = LongDip(store, begin_s=10.3, end_s=95.6)
    dip.measure(0, 160)
    dip.event(9.0, 10.7)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(95.6 - 10.3, abs=1.0)


@pytest.mark.parametrize(("level_v", "back_v"), [(90.0, 109.2), (140.0, 130.8)])
def test_a_minute_within_the_limit_ends_it(store: CloudStore, level_v: float, back_v: float) -> None:
    """Without the hysteresis."""
    dip = LongDip(store, begin_s=10.3, end_s=30.6, level_v=level_v, back_v=back_v)
    dip.measure(0, 80)
    dip.event(9.0, 12.0)
    dip.idle()
    assert not dip.only().closed, "49 seconds are not a minute: it may fall again"
    dip.measure(80, 100)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(20.3, abs=1.0)
    assert incident.findings[0].finding.residual_v == pytest.approx(level_v, rel=0.001)


def test_a_fall_within_the_minute_continues_it(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=30.6, back_v=109.2)
    dip.measure(0, 70)
    dip.event(9.0, 12.0)
    dip.begin_s, dip.end_s = 70.0, 75.7
    dip.measure(70, 90)
    dip.idle()
    dip.begin_s = 10.3
    incident = dip.only()
    assert not incident.closed and lasted_s(incident) == pytest.approx(76 - 10.3, abs=0.02)


def test_a_refused_end_is_stored_again(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    dip, carry_out, refusals = LongDip(store, begin_s=10.3, end_s=60.6), store.carry_out, [StoreError("full")]

    def refusing(plan: JoinPlan) -> CarriedOut | None:
        if refusals:
            raise refusals.pop()
        return carry_out(plan)

    dip.event(9.0, 12.0)
    dip.measure(0, 200)
    monkeypatch.setattr(store, "carry_out", refusing)
    dip.idle()
    assert not refusals and not dip.only().closed
    dip.idle()
    assert dip.only().closed


def test_what_recovered_in_between_is_not_one_disturbance(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=200.6)
    dip.measure(0, 203, high=range(100, 101))
    dip.event(9.0, 12.0)
    dip.event(198.0, 202.0)
    later, first = store.incidents()
    assert first.closed and lasted_s(first) == pytest.approx(100 - 10.3, abs=0.02)
    assert later.closed and later.start_ns == pytest.approx(ZERO_NS + 198 * S, abs=S / 10)


def test_another_nominal_voltage_does_not_grow(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=300.6)
    dip.measure(0, 200)
    dip.event(9.0, 12.0)
    store.put_box(BoxRecord("1", "Cellar", nominal_v=90.0))
    dip.idle()
    assert lasted_s(dip.only()) < 3.0
    assert len(dip.runner._open) == 0


def test_a_hole_says_nothing_until_it_is_filled(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=400.6)
    dip.measure(0, 100)
    dip.measure(200, 300)
    dip.event(9.0, 12.0)
    dip.idle()
    assert lasted_s(dip.only()) == pytest.approx(100 - 10.3, abs=0.02)
    dip.measure(100, 200)
    dip.idle()
    assert lasted_s(dip.only()) == pytest.approx(300 - 10.3, abs=0.02)
    assert replace(dip.only(), closed=False) == dip.only()


def gap_before(store: CloudStore, second: int, gap_s: float) -> None:
    """The Measurement of this second reports that samples before it are missing."""
    end_ns = ZERO_NS + (second + 1) * S
    rms, lost = Metric(NOMINAL_V, NOMINAL_V, NOMINAL_V), single(gap_s)
    metrics = {"rms": rms, GapReason.OVERRUN.metric: lost}
    store.append_measurements(
        [Measurement("1", end_ns // 10**6, metrics, end_ns - S, end_ns, sequence=10_000 + second)]
    )


def test_an_end_among_missing_measurements_is_bounded(store: CloudStore) -> None:
    """The incident closes."""
    dip = LongDip(store, begin_s=10.3, end_s=14.6)
    dip.measure(0, 10)
    dip.event(9.0, 12.1)  # 1.8 s after its beginning the waveform ends; then ten seconds are lost
    gap_before(store, 22, 10.0)
    dip.measure(23, 30)
    dip.idle()
    assert not dip.only().closed, "a waveform of its end may still come"
    dip.measure(30, 90)
    dip.idle()
    incident = dip.only()
    finding = incident.findings[0].finding
    assert incident.closed and lasted_s(incident) == pytest.approx(1.8, abs=0.02)
    assert dict(finding.figures)[END_WITHIN_S] == pytest.approx(22 - 12.1, abs=0.02)
    assert "it ended within 9.9 s after that: its Measurements are missing" in finding.because
    assert words.span_of(incident) == "between 1.80\u202fs and 11.70\u202fs"
    assert len(dip.runner._open) == 0


def test_a_disturbance_lasts_through_a_gap(store: CloudStore) -> None:
    """The gap was reported."""
    dip = LongDip(store, begin_s=10.3, end_s=60.6)
    dip.measure(0, 13)
    dip.event(9.0, 12.1)
    dip.level_v, level_v = 90.0, dip.level_v
    end_ns = ZERO_NS + 31 * S
    low = Metric(level_v, level_v, level_v)
    metrics = {"rms": low, GapReason.GATEWAY.metric: single(17.0)}
    store.append_measurements([Measurement("1", end_ns // 10**6, metrics, end_ns - S, end_ns, sequence=9000)])
    dip.measure(31, 130)
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(50.3, abs=1.0)
    assert END_WITHIN_S not in dict(incident.findings[0].finding.figures)


def test_an_unreported_gap_ends_after_ten_minutes(store: CloudStore) -> None:
    """A gap without a report is given up after ten minutes."""
    dip = LongDip(store, begin_s=10.3, end_s=14.6)
    dip.event(9.0, 12.1)
    dip.measure(30, 300)
    dip.idle()
    assert not dip.only().closed, "a network may have held them up"
    dip.measure(300, 640)
    dip.idle()
    assert dip.only().closed
    assert dict(dip.only().findings[0].finding.figures)[END_WITHIN_S] == pytest.approx(17.9, abs=0.02)


def half_cycles_of(dip: LongDip, first_s: int, last_s: int, deep: bool = False) -> HalfCycleRms:
    """All of these seconds; `deep`: with a tenth of a second at 30 V from 40 s on."""
    t_s = np.arange(first_s * 120, last_s * 120) / 120
    volts = np.where((t_s >= dip.begin_s) & (t_s < dip.end_s), dip.level_v, NOMINAL_V).astype(np.float32)
    if deep:
        volts[(t_s > 40.0) & (t_s < 40.1)] = 30.0
    t_ns = ZERO_NS + np.round(t_s * S).astype(np.int64)
    return HalfCycleRms("1", ZERO_NS + first_s * S, ZERO_NS + last_s * S, t_ns, volts, volts)


def test_half_cycles_fill_missing_measurements(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=100.6)
    dip.measure(0, 20)
    dip.event(9.0, 12.0)
    dip.measure(60, 103)
    dip.event(98.0, 102.0)
    assert len(store.incidents()) == 2, "the time between is unknown"
    assert store.put_half_cycles(2, half_cycles_of(dip, 9, 102, deep=True))
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(90.3, abs=0.02)
    finding = incident.findings[0].finding
    assert finding.residual_percent == pytest.approx(25.0, abs=0.1) and finding.kind == "undervoltage"
    assert finding.duration_cycles == pytest.approx(90.3 * 60, abs=1.5)


def test_half_cycles_close_a_dip(store: CloudStore) -> None:
    """No waveform shows its end."""
    dip = LongDip(store, begin_s=10.3, end_s=30.6)
    dip.event(9.0, 12.0)
    assert store.put_half_cycles(1, half_cycles_of(dip, 9, 32))
    dip.idle()
    incident = dip.only()
    assert incident.closed and lasted_s(incident) == pytest.approx(20.3, abs=0.02)
    assert "half cycles of its gateway's ledger" in incident.findings[0].finding.because
    assert "to a second" not in incident.findings[0].finding.because


def test_a_hole_in_the_ledger_says_nothing_either(store: CloudStore) -> None:
    dip = LongDip(store, begin_s=10.3, end_s=30.6)
    dip.event(9.0, 12.0)
    whole = half_cycles_of(dip, 9, 32)
    there = whole.t_ns < ZERO_NS + 20 * S
    there |= whole.t_ns > ZERO_NS + 21 * S
    volts = whole.least_v[there]
    assert store.put_half_cycles(1, replace(whole, t_ns=whole.t_ns[there], least_v=volts, most_v=volts))
    dip.idle()
    incident = dip.only()
    assert not incident.closed and lasted_s(incident) == pytest.approx(20 - 10.3, abs=0.02)
