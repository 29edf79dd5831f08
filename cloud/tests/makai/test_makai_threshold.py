"""The threshold plug-in: fires when a limit is passed, and not again until it was left."""

from dataclasses import replace
from pathlib import Path

import pytest
from judged_triggers import decisions_of

import opq_cloud.makai as makai_room
from opq_plugins.package.built_in import Plugin, load
from opq_proto.decision import Decision, Nominal, window_ns
from opq_proto.errors import PluginError
from opq_proto.messages import Measurement, Metric

TRIGGERS = Path(makai_room.__file__).parent / "triggers"
AT_120 = Nominal(120.0, 60.0)


def loaded(**settings: object) -> Plugin:
    return load("trigger", "threshold", settings, [TRIGGERS])


def fired(plugin: Plugin, values: list[Measurement], nominal: Nominal = AT_120) -> list[Decision | None]:
    found = decisions_of(plugin, values, nominal)
    return [found.get(at) for at in range(len(values))]


def rms(low: float, high: float = 121.0, box_id: str = "1", backfilled: bool = False) -> Measurement:
    return Measurement(box_id, 1000, {"rms": Metric(low, high, (low + high) / 2)}, backfilled=backfilled)


def onsets(plugin: Plugin, values: list[Measurement], nominal: Nominal = AT_120) -> list[int]:
    found = enumerate(fired(plugin, values, nominal))
    return [k for k, decision in found if decision is not None and decision.span_ns is None]


S = 10**9


def window(k: int, low: float, high: float = 121.0, **more: object) -> Measurement:
    """The `k`-th window of a second."""
    return replace(rms(low, high), start_ns=k * S, end_ns=(k + 1) * S, timestamp_ms=(k + 1) * 1000, **more)


def spans(plugin: Plugin, values: list[Measurement]) -> list[tuple[int, tuple[int, int]]]:
    """(position, span in s) of what is over."""
    found = enumerate(fired(plugin, values))
    return [
        (k, (decision.span_ns[0] // S, decision.span_ns[1] // S))
        for k, decision in found
        if decision is not None and decision.span_ns is not None
    ]


def test_a_dip_fires_once_at_its_onset() -> None:
    """A dip fires once at its onset and not on recovery."""
    assert onsets(loaded(), [rms(120), rms(107), rms(60), rms(100), rms(120), rms(120)]) == [1]


def test_exactly_at_the_limit_is_no_dip() -> None:
    assert onsets(loaded(), [rms(108.0)]) == []  # 90 % of 120 V
    assert onsets(loaded(), [rms(107.99)]) == [0]


def test_hysteresis_holds_a_trembling_value() -> None:
    # left only at 92 % = 110.4 V
    assert onsets(loaded(), [rms(107), rms(109), rms(107), rms(110.3), rms(107)]) == [0]
    assert onsets(loaded(), [rms(107), rms(110.5), rms(107)]) == [0, 2]


def test_a_swell_fires_on_the_maximum() -> None:
    decision = fired(loaded(), [rms(119, 133)])[0]
    assert decision is not None
    assert (decision.metric, decision.value, decision.limit) == ("rms", 133, pytest.approx(132))
    assert "above 132" in decision.because


def test_a_dip_and_swell_are_one_decision() -> None:
    assert onsets(loaded(), [rms(60, 140), rms(60, 140)]) == [0]


def test_limits_follow_the_nominal_of_the_box() -> None:
    assert onsets(loaded(), [rms(215, 231)], Nominal(230.0, 50.0)) == []
    assert onsets(loaded(), [rms(200, 231)], Nominal(230.0, 50.0)) == [0]


def test_boxes_do_not_share_state() -> None:
    assert onsets(loaded(), [rms(100), rms(100, box_id="4"), rms(100), rms(100, box_id="4")]) == [0, 1]


def test_late_measurements_do_not_change_a_live_dip() -> None:
    """Late Measurements from a disk neither end nor start a live dip."""
    values = [rms(100), rms(120, backfilled=True), rms(100), rms(90, backfilled=True), rms(100)]
    assert onsets(loaded(), values) == [0, 3]


@pytest.mark.parametrize("set_s", [-86_400, -1307, -3, 4, 3600, 10**8])
@pytest.mark.parametrize("windows", [1, 3, 20])
def test_span_over_a_clock_step_has_one_clock(set_s: int, windows: int) -> None:
    """The Box numbers its samples, so the end and the length are independent of its clock."""

    def numbered(k: int, low: float, ahead_s: int) -> Measurement:
        return replace(window(k + ahead_s, low), first_sample=5000 + 12_000 * k, samples=12_000)

    begin = 200_000
    rows = [numbered(begin + k, 60, set_s if k else 0) for k in range(windows)]
    rows.append(numbered(begin + windows, 120, set_s))
    *_, over = fired(loaded(), rows)
    assert over is not None and over.span_ns is not None
    start_ns, end_ns = over.span_ns
    assert end_ns == (begin + windows + set_s) * S
    begun_ns = start_ns if over.since_ns is None else over.since_ns
    assert begun_ns == (begin + set_s) * S
    assert f"lasted at most {windows:.1f} s" in over.because


def test_a_start_within_a_dip_sets_no_clock() -> None:
    """Its numbers begin again: the times are the gateway's, and they go on."""
    before = replace(window(100, 60), first_sample=900_000, samples=12_000)
    after = replace(window(103, 120), first_sample=0, samples=12_000)
    assert spans(loaded(), [before, after]) == [(1, (100, 103))]


def test_other_metrics_are_off_unless_asked_for() -> None:
    far_off = Measurement("1", 0, {"f": Metric(40, 70, 55), "thd": Metric(0.5, 0.6, 0.5)})
    assert onsets(loaded(), [far_off]) == []
    assert fired(loaded(low_hz=59.5), [far_off])[0].metric == "f"
    assert fired(loaded(thd_ratio=0.08), [far_off])[0].metric == "thd"


def test_an_absent_or_unknown_metric_changes_nothing() -> None:
    nothing = Measurement("1", 0, {})
    unknown = Measurement("1", 0, {"rms": Metric(float("nan"), float("nan"), float("nan"))})
    assert onsets(loaded(), [nothing, unknown, rms(100), nothing, unknown, rms(100)]) == [2]


def test_a_limit_can_be_turned_off() -> None:
    assert onsets(loaded(dip_percent=None), [rms(10)]) == []


def test_wrong_settings_are_all_reported_at_once() -> None:
    with pytest.raises(PluginError) as caught:
        loaded(dip_precent=90, swell_percent="high", hysteresis_percent=50)
    text = str(caught.value)
    assert 'dip_precent  unknown key; did you mean "dip_percent"?' in text
    assert "swell_percent  is 'high'; want a number" in text
    assert "hysteresis_percent  is 50; want from 0 to 20" in text


def test_an_original_window_ends_at_its_timestamp() -> None:
    """The window of an original Box ends at its time stamp."""
    original = rms(120)
    assert window_ns(original) == (0, 10**9)
    ours = replace(original, start_ns=5, end_ns=17)
    assert window_ns(ours) == (5, 17)


def test_changing_nominals_do_not_grow_the_memory() -> None:
    plugin = loaded()
    state = plugin.module.begin(plugin.config)
    for k in range(2500):
        plugin.module.decide(rms(60), Nominal(100.0 + k, 50.0), plugin.config, state)
    assert len(state.limits) <= 1000


def test_a_dips_whole_span_is_reported_once() -> None:
    dip = [window(k, 60 if 2 <= k < 7 else 120) for k in range(12)]
    assert onsets(loaded(), dip) == [2]
    assert spans(loaded(), dip) == [(7, (2, 7))]
    decision = fired(loaded(), dip)[7]
    assert decision is not None
    assert decision.because == "lasted at most 5.0 s; threshold: rms below 108 V"
    assert (decision.value, decision.limit) == (60, 108)


def test_the_end_of_a_long_dip_is_reported() -> None:
    """With its beginning, also hours later."""
    dip = [window(k, 60 if 2 <= k < 9000 else 120) for k in range(9003)]
    assert spans(loaded(), dip) == [(9000, (8999, 9000))]
    decision = fired(loaded(), dip)[9000]
    assert decision is not None and decision.since_ns == 2 * S
    assert decision.because.startswith("lasted at most 8998.0 s, this is its end")
    assert spans(loaded(), dip[:8990]) == [], "while it lasts nothing is asked for"
    short = [window(k, 60 if 2 <= k < 12 else 120) for k in range(15)]
    assert spans(loaded(), short) == [(12, (2, 12))]
    assert [found.since_ns for found in fired(loaded(), short) if found] == [None, None]


def test_a_lost_window_belongs_to_the_dip() -> None:
    dip = [window(k, 60 if k < 4 else 120) for k in (0, 1, 5)]
    assert spans(loaded(), dip) == [(2, (0, 5))]


def test_an_hour_of_silence_hides_the_end() -> None:
    """After an hour of silence the end of a dip is not known."""
    assert spans(loaded(), [window(0, 60), window(3700, 120)]) == []
    assert spans(loaded(), [window(0, 60), window(3000, 120)]) == [(1, (2990, 3000))]


def test_a_swell_after_a_dip_is_an_onset() -> None:
    """The dip is reported next."""
    values = [window(0, 60), window(1, 60), window(2, 119, 140), window(3, 120)]
    assert onsets(loaded(), values) == [0, 2]
    assert spans(loaded(), values) == [(3, (0, 3))]


def test_a_clock_step_gives_no_negative_span() -> None:
    """The clock was set back during it."""
    assert spans(loaded(), [window(100, 60), window(0, 60), window(1, 120)]) == [(2, (100, 101))]


def test_only_dips_and_swells_are_told_whole() -> None:
    high = Measurement("1", 0, {"thd": Metric(0.5, 0.6, 0.5)}, start_ns=0, end_ns=S)
    well = Measurement("1", 0, {"thd": Metric(0.0, 0.01, 0.0)}, start_ns=9 * S, end_ns=10 * S)
    plugin = loaded(thd_ratio=0.08)
    assert onsets(plugin, [high, well, high]) == [0, 2]
    assert spans(plugin, [high, well, high]) == []


def crossing(at_s: float, value: float) -> Measurement:
    """A crossing: one cycle that a Box sends at once."""
    start_ns = round(at_s * S)
    metrics = {"rms": Metric(value, value, value)}
    return Measurement("1", 0, metrics, start_ns=start_ns, end_ns=start_ns + S // 60, crossing=True)


def test_an_overtaken_window_begins_no_disturbance() -> None:
    told = [
        window(0, 120),
        crossing(1.3, 60),
        crossing(2.3, 120),
        window(1, 60),
        window(2, 60),
        window(3, 120),
    ]
    assert onsets(loaded(), told) == [1]
    decisions = fired(loaded(), told)
    assert [k for k, found in enumerate(decisions) if found and found.span_ns] == [2]
    assert decisions[2] is not None and decisions[2].span_ns == (round(1.3 * S), round(2.3 * S))


def test_a_dip_close_behind_another_has_its_onset() -> None:
    """The windows between both come after the second one's crossing, as they do on a busy machine."""
    first = [crossing(1.3, 60), window(1, 60), crossing(6.3, 120), window(5, 60), window(6, 60)]
    second = [
        crossing(8.1, 1),
        window(7, 120),
        window(8, 1),
        window(9, 1),
        crossing(13.1, 120),
        window(13, 1),
    ]
    assert onsets(loaded(), first + second) == [0, 5]
    found = [
        decision.span_ns for decision in fired(loaded(), first + second) if decision and decision.span_ns
    ]
    assert found == [(round(1.3 * S), round(6.3 * S)), (round(8.1 * S), round(13.1 * S))]


def test_a_dip_without_crossing_is_seen() -> None:
    told = [
        crossing(1.3, 60),
        crossing(1.4, 120),
        window(1, 60),
        window(2, 120),
        window(3, 70),
        window(4, 120),
    ]
    assert onsets(loaded(), told) == [0, 4]


def test_windows_after_a_clock_step_count() -> None:
    told = [crossing(100.3, 60), crossing(101.3, 120), window(3, 60), window(4, 120)]
    assert onsets(loaded(), told) == [0, 2]


def test_a_dip_ends_with_its_start() -> None:
    """The Box ended in a dip: the end of the dip is unknown, and a dip after the start is a separate one."""
    one, two = {"start_id": 1}, {"start_id": 2}
    values = [window(1, 60, **one), window(50, 120, 121, **two), window(51, 120, 121, **two)]
    assert spans(loaded(), values) == []
    assert onsets(loaded(), values) == [0]
    values = [window(1, 60, **one), window(50, 60, **two), window(51, 60, **two), window(52, 120, **two)]
    assert onsets(loaded(), values) == [0, 1]
    assert spans(loaded(), values) == [(3, (50, 52))]
    unknown = [window(1, 60), window(2, 60, **two), window(3, 120, **two)]
    assert spans(loaded(), unknown) == [(2, (1, 3))]
