"""The built-in triggers: every class of disturbance has one; it decides at the onset, once while it lasts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest
from judged_triggers import decisions_of

from opq_cloud.core.original.original_settings import from_original, read_config
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import DEFAULT_TRIGGERS, TriggeringServiceSection
from opq_cloud.makai.judging.excursions import Excursions, WatchedLimit
from opq_cloud.makai.judging.trigger_plugins import BUILT_IN
from opq_cloud.makai.judging.triggers_in_use import TriggersInUse, configured_triggers
from opq_plugins.package.built_in import load
from opq_proto.decision import Decision, Nominal
from opq_proto.errors import ConfigError
from opq_proto.kit import log
from opq_proto.messages import Measurement, Metric
from opq_sim.data_sets.magnitudes import CLASSES_LEFT_OUT, MAGNITUDES

S = 10**9
AT = Nominal(230.0, 50.0)
CLASSES = (set(MAGNITUDES) | set(CLASSES_LEFT_OUT)) - {"none", "unknown"}
TABLE = Path(__file__).parents[3] / "docs" / "makai.md"


def window(k: int, **changed: tuple[float, float, float] | float) -> Measurement:
    """The `k`-th second of a calm Box but for the metrics given: least, most and mean, or one of all."""
    metrics = {
        "rms": Metric(229.97, 230.03, 230.0),
        "f": Metric(49.999, 50.001, 50.0),
        "thd": Metric(0.0199, 0.0201, 0.02),
        "trans": Metric(2.0, 2.4, 2.1),
    }
    for metric, value in changed.items():
        metrics[metric] = Metric(*value) if isinstance(value, tuple) else Metric(value, value, value)
    return Measurement("1", (k + 1) * 1000, metrics, k * S, (k + 1) * S, uncertainty_ns=100)


def decided(name: str, rows: Sequence[Measurement], **settings: object) -> dict[int, Decision]:
    """Position of the row -> what the trigger decided."""
    return decisions_of(load("trigger", name, settings, [BUILT_IN]), rows, AT)


def calm(count: int, since: int = 0) -> list[Measurement]:
    return [window(since + k) for k in range(count)]


@pytest.mark.parametrize("set_s", [-7200, 5, 40_000])
def test_an_excursion_has_its_samples_length(set_s: int) -> None:
    """Its begin and end are of the clock in force at its end."""

    def row(k: int, ahead_s: int) -> Measurement:
        return replace(window(100_000 + k + ahead_s), first_sample=12_000 * k, samples=12_000)

    excursions, limit = Excursions(), WatchedLimit("test", "f", "Hz", 1.0, 0.5)
    assert excursions.begin("f", row(5, 0), 2.0, limit) is not None
    excursions.go_on("f", row(6, 0), 2.0)
    excursions.go_on("f", row(7, set_s), 2.0)
    over = excursions.end("f", row(8, set_s), limit)
    assert over is not None
    assert over.span_ns == ((100_005 + set_s) * S, (100_008 + set_s) * S)
    assert "lasted at most 3.0 s" in over.because


def test_an_excursion_holds_the_windows_of_one_start() -> None:
    def row(k: int, start_id: int | None) -> Measurement:
        return replace(window(k), start_id=start_id)

    excursions, limit = Excursions(), WatchedLimit("test", "f", "Hz", 1.0, 0.5)
    assert excursions.begin("f", row(5, 1), 2.0, limit) is not None
    assert excursions.end("f", row(90, 2), limit) is None
    excursions.begin("g", row(5, 1), 2.0, limit)
    excursions.go_on("g", row(90, 2), 2.0)
    over = excursions.end("g", row(93, 2), limit)
    assert over is not None and over.span_ns == (90 * S, 93 * S)
    excursions.begin("h", row(5, None), 2.0, limit)
    over = excursions.end("h", row(8, 2), limit)
    assert over is not None and over.span_ns == (5 * S, 8 * S)


def test_every_class_has_a_trigger_or_a_reason() -> None:
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", TABLE.read_text(), re.MULTILINE)
    named = {kind: set(re.findall(r"`(\w+)`", triggers)) for kind, triggers in rows if kind in CLASSES}
    assert named.keys() == CLASSES
    for kind, triggers in named.items():
        assert triggers and triggers <= set(DEFAULT_TRIGGERS), kind


def test_calm_windows_decide_nothing_in_any_default_trigger() -> None:
    for name in DEFAULT_TRIGGERS:
        assert decided(name, calm(600)) == {}, name


@pytest.mark.parametrize(
    ("name", "beyond"),
    [
        ("rapid_change", {"rms": (217.0, 230.0, 220.0)}),
        ("frequency", {"f": (49.4, 50.0, 49.7)}),
        ("frequency", {"f": (50.0, 50.11, 50.02)}),
        ("transient", {"trans": (2.0, 30.0, 2.6)}),
        ("steady_state", {"thd": 0.06}),
        ("steady_state", {"h5": 0.07}),
        ("steady_state", {"unbalance": 0.03}),
        ("steady_state", {"dc": -2.0}),
        ("steady_state", {"ihd": 0.01}),
        ("steady_state", {"pst": 1.2}),
        ("statistical", {"rms": (229.5, 230.5, 230.0)}),
        ("edge_rule", {"edge_impulsive_transient": 55.0}),
    ],
)
def test_a_lasting_excursion_is_one_onset(name: str, beyond: dict[str, float]) -> None:
    """A lasting deviation is one onset, and its end is not another."""
    crossing = name == "edge_rule"
    lasting = [replace(window(200 + k, **beyond), crossing=crossing) for k in range(1 if crossing else 4)]
    found = decided(name, [*calm(200), *lasting, *calm(30, 204)])
    assert [at for at, decision in found.items() if decision.span_ns is None] == [200]
    assert all(200 < at <= 205 for at, decision in found.items() if decision.span_ns is not None)


@pytest.mark.parametrize(
    ("name", "beyond", "because"),
    [
        ("frequency", {"f": 49.1}, "frequency: 49.1000 Hz, below 49.5000"),
        ("frequency", {"f": 51.9}, "frequency: 51.9000 Hz, above 50.5000"),
        ("edge_rule", {"edge_phase_jump": -14.0}, "detector phase jump at the gateway: -14 degrees"),
    ],
)
def test_a_decision_names_value_and_limit(name: str, beyond: dict[str, float], because: str) -> None:
    """A decision says what was seen and which limit it passed."""
    (found,) = decided(name, [*calm(5), replace(window(5, **beyond), crossing=name == "edge_rule")]).values()
    assert found.because == because


def test_a_long_excursion_is_onset_and_end() -> None:
    """Its end is its last two windows."""
    found = decided("steady_state", [*calm(5), *(window(5 + k, thd=0.06) for k in range(600)), *calm(9, 605)])
    assert list(found) == [5, 605]
    assert found[605].span_ns == (604 * S, 606 * S)
    assert "lasted at most 600.0 s" in found[605].because


def test_only_rising_harmonics_are_a_new_onset() -> None:
    """Harmonics that last are not."""
    levels = [0.02] * 5 + [0.11] * 15 + [0.145] + [0.217] * 4 + [0.11] * 15 + [0.217] * 3 + [0.02]
    found = decided("steady_state", [window(k, thd=level) for k, level in enumerate(levels)])
    assert list(found) == [5, 21, len(levels) - 1]
    assert found[21].because == "steady_state: thd 0.217 beyond 0.05, and rose from 0.145"


def test_a_step_that_stays_is_the_new_level() -> None:
    low = (217.9, 218.1, 218.0)
    found = decided("rapid_change", [*calm(5), *(window(5 + k, rms=low) for k in range(60))])
    assert list(found) == [5]


def test_a_returning_step_is_requested_whole() -> None:
    low = (217.9, 218.1, 218.0)
    found = decided("rapid_change", [*calm(5), *(window(5 + k, rms=low) for k in range(4)), *calm(5, 9)])
    assert [(at, decision.span_ns) for at, decision in found.items()] == [(5, None), (9, (5 * S, 9 * S))]


@pytest.mark.parametrize("name", ["rapid_change", "frequency", "transient", "steady_state", "statistical"])
def test_the_edges_of_a_dip_belong_to_it(name: str) -> None:
    dip = {"rms": (150.0, 230.0, 190.0), "f": (49.0, 50.4, 50.0), "thd": 0.2, "trans": (2.0, 90.0, 5.0)}
    rows = [*calm(200), window(200, **dip), *calm(20, 201)]
    assert [at for at, each in decided(name, rows).items() if each.span_ns is None] == []


def of_original(rows: Sequence[Measurement]) -> list[Measurement]:
    """The same as a Box of the original's generation sends them."""
    return [replace(row, start_ns=None, end_ns=None, uncertainty_ns=None) for row in rows]


@pytest.mark.parametrize("name", ["frequency", "transient", "statistical"])
def test_an_original_windows_tail_belongs_to_the_dip(name: str) -> None:
    """Its first values of frequency and transients cover a part of the window before."""
    after = {"f": (49.6, 50.4, 50.0), "trans": (2.0, 90.0, 5.0)}
    rows = [*calm(200), window(200, rms=(150.0, 230.0, 190.0)), window(201, **after), *calm(20, 202)]
    assert decided(name, of_original(rows)) == {}
    if name != "statistical":
        assert next(iter(decided(name, rows))) == 201, "a Box of ours measures each window by itself"
    rows[210] = window(210, **after)
    assert list(decided(name, of_original(rows))) != []


def test_an_original_boxs_voltage_has_a_level_too() -> None:
    rows = [
        *calm(5, 900),
        window(905, rms=(210.0, 230.0, 220.0)),
        *(window(906 + k, rms=210.0) for k in range(3)),
    ]
    for sent in (rows, of_original(rows)):
        assert list(decided("rapid_change", sent)) == [5]


RISING = {"rms": (229.5, 230.5, 230.0), "f": (49.97, 50.03, 50.0)}


@pytest.mark.parametrize(
    ("change", "onsets"),
    [((150.0, 230.0, 190.0), []), ((210.0, 230.0, 225.0), [200]), ((60.0, 240.0, 190.0), [])],
)
def test_a_returning_voltage_belongs_to_its_dip(
    change: tuple[float, float, float], onsets: list[int]
) -> None:
    rows = [*calm(200), window(200, rms=change), *(window(201 + k, **RISING) for k in range(6))]
    found = decided("statistical", [*rows, *calm(20, 207), window(227, **RISING), *calm(3, 228)])
    assert list(found) == [*onsets, 227, 228], "nothing is completed; what comes later is unusual again"


def test_a_later_unusual_value_is_an_onset() -> None:
    """It remains for ten seconds after the dip."""
    rows = [*calm(200), *(window(200 + k, rms=(150.0, 230.0, 190.0)) for k in range(2))]
    found = decided("statistical", [*rows, *(window(202 + k, thd=0.06) for k in range(20)), *calm(3, 222)])
    assert [at for at, each in found.items() if each.span_ns is None] == [212]


@pytest.mark.parametrize("volts", [258.0, 200.0])
@pytest.mark.parametrize(
    ("name", "beyond"),
    [
        ("rapid_change", {"rms": (-13.0, 0.0, -10.0)}),
        ("frequency", {"f": (49.4, 50.0, 49.7)}),
        ("transient", {"trans": (2.0, 30.0, 2.6)}),
        ("steady_state", {"thd": 0.06}),
        ("statistical", {"rms": (-0.5, 0.5, 0.0)}),
    ],
)
def test_minutes_of_over_or_undervoltage_hide_nothing_else(
    name: str, beyond: dict[str, tuple[float, float, float]], volts: float
) -> None:
    steady = (volts - 0.03, volts + 0.03, volts)
    rows = [window(k, rms=steady) for k in range(230)]
    changed: dict[str, tuple[float, float, float] | float] = {"rms": steady, **beyond}
    if "rms" in beyond:
        low, high, mean = beyond["rms"]
        if name == "rapid_change":  # to another level, where it stands
            low = high = mean = -13.0
        changed["rms"] = (volts + low, volts + high, volts + mean)
    rows[200:204] = [window(200 + k, **changed) for k in range(4)]
    assert [at for at, each in decided(name, rows).items() if each.span_ns is None][:1] == [200]


def test_an_unusual_figure_mutes_only_itself() -> None:
    """A motor's start every three minutes is unusual each time, and a tone soon after one is, too."""
    rows = calm(1200)
    for k in range(200, 1200, 180):
        rows[k] = window(k, rms=(228.0, 230.5, 229.5))
    rows[395] = window(395, thd=0.05)
    found = [at for at, each in decided("statistical", rows).items() if each.span_ns is None]
    assert found == [200, 380, 395, 560, 740, 920, 1100]


def test_flicker_wants_some_windows_in_a_row() -> None:
    swing = (227.0, 232.0, 230.0)
    rows = [*calm(3), *(window(3 + k, rms=swing) for k in range(9)), *calm(3, 12)]
    found = decided("flicker", rows)
    assert list(found) == [5, 12] and found[12].span_ns == (5 * S, 12 * S)
    assert (
        decided("flicker", [window(k, rms=swing if k % 3 else (230.0, 230.1, 230.05)) for k in range(60)])
        == {}
    )


def test_small_changes_of_three_boxes_are_one_event() -> None:
    small = window(10, rms=(226.0, 230.0, 229.5))
    boxes = [replace(small, box_id=str(k)) for k in range(6)]
    assert list(decided("coincidence", boxes)) == [2]
    apart = [replace(each, start_ns=k * 9 * S, end_ns=(k * 9 + 1) * S) for k, each in enumerate(boxes)]
    assert decided("coincidence", apart) == {}
    unknown = [replace(each, uncertainty_ns=None) for each in boxes]
    assert decided("coincidence", unknown) == {}


def test_a_coincidence_is_decided_once() -> None:
    """The window in the middle meets both others, which do not meet; a later one of all is near it."""
    small = window(10, rms=(226.0, 230.0, 229.5))
    starts_ns = [10 * S, 10 * S + 600_000_000, 11 * S + 300_000_000, 14 * S]
    rows = [
        replace(small, box_id=str(k), start_ns=start_ns, end_ns=start_ns + S)
        for k, start_ns in enumerate(starts_ns)
    ]
    for order in permutations(rows):
        assert len(decided("coincidence", order)) == 1


def after_a_gap(**metrics: float) -> list[Measurement]:
    """Calm rows, a silence of a minute, and a first row after it that reports these metrics."""
    first, *later = calm(5, 80)
    reported = {name: Metric(value, value, value) for name, value in metrics.items()}
    rows = [*calm(20), replace(first, metrics={**first.metrics, **reported}), *later]
    return [replace(row, sequence=number) for number, row in enumerate(rows)]


def test_a_lost_supply_requests_the_time_before() -> None:
    """The Box was without supply."""
    found = decided("silence", after_a_gap(missing_dark_s=60.0))
    assert {at: each.span_ns for at, each in found.items()} == {20: (15 * S, 20 * S)}


@pytest.mark.parametrize(
    "metrics",
    [
        {},
        {"missing_dark_s": 9.0},
        {"missing_dark_s": 90_000.0},
        {"missing_dark_s": 60.0, "clock_set_s": 50.0},
        *({f"missing_{reason}_s": 60.0} for reason in ("overrun", "line", "gateway", "restart")),
        {"clock_set_s": 60.0},
        {"clock_set_s": 10_796.0},
        {"restart_cause": 4.0},
        {"missing_s": 60.0},
    ],
    ids=lambda metrics: "+".join(metrics) or "nothing",
)
def test_another_silence_is_not_followed_up(metrics: dict[str, float]) -> None:
    assert decided("silence", after_a_gap(**metrics)) == {}


def test_a_snapshot_is_due_at_its_hour() -> None:
    """A snapshot is due at its hour and not at a start."""
    every_minute = [window(60 * k) for k in range(0, 3 * 24 * 60)]
    found = decided("baseline", every_minute, at_utc_h=3.0)
    assert [every_minute[at].end_ns // S // 3600 for at in found] == [3, 27, 51]
    soon = [window(2 * 3600 + 60 * k) for k in range(120)]
    assert decided("baseline", soon, at_utc_h=2.5) == {}


def test_a_louder_hour_is_usual() -> None:
    loud = (228.5, 231.5, 230.0)
    day = [window(60 * k, **({"rms": loud} if 600 <= k % 1440 < 660 else {})) for k in range(3 * 1440)]
    quick = decided("statistical", day, warm_up_windows=60)
    onsets = [day[at].end_ns // S // 3600 for at, each in quick.items() if each.span_ns is None]
    assert onsets and set(onsets) <= {10, 34, 58}
    assert len(onsets) <= 3


def test_napali_decides_at_two_boxes() -> None:
    """It decides again after its grace time."""
    off = [window(k, f=(50.1, 50.2, 50.15)) for k in range(20)]
    both = [each for row in off for each in (row, replace(row, box_id="2"))]
    assert list(decided("napali", both)) == [1]
    assert decided("napali", off) == {}
    assert list(decided("napali", off, trigger_local=True)) == [0]
    later = [replace(window(60, f=50.2), box_id=box_id) for box_id in ("1", "2")]
    assert list(decided("napali", [*both, *later])) == [1, 41]


def test_napali_finds_three_sigma() -> None:
    """From a Box's own mean."""
    wavy = [window(k, f=50.0 + 0.004 * (-1) ** k) for k in range(60)]
    assert list(decided("napali", [*wavy, window(60, f=50.06)], trigger_local=True)) == [60]


def test_a_repeated_limit_waits_longer() -> None:
    limit, book, onsets = WatchedLimit("t", "thd", "", 1.0, 0.5), Excursions(first_s=10.0), []
    for k in range(0, 86_400, 30):
        if book.follow("1", window(k), 2.0, limit) is not None:
            onsets.append(k)
        book.follow("1", window(k + 1), 0.0, limit)
    assert onsets[:4] == [0, 30, 60, 120] and len(onsets) <= 35
    assert book.held == 86_400 // 30 - len(onsets)
    assert book.follow("1", window(90_000), 2.0, limit) is not None  # calm for long: at once again
    assert book.follow("2", window(90_000), 2.0, limit) is not None


def test_repeated_measurements_are_not_the_live_stream() -> None:
    rows = [*calm(5), replace(window(1, thd=0.06), backfilled=True), *calm(3, 5)]
    found = decided("steady_state", rows)
    assert list(found) == [5]


def test_a_table_sets_removes_or_adds_a_trigger(tmp_path: Path) -> None:
    """It sets a trigger, turns it off, or adds one."""
    path = tmp_path / "cloud.toml"
    path.write_text(
        "[triggering_service.triggers.frequency]\nrocof_hz_per_s = 0.5\n"
        "[triggering_service.triggers.flicker]\nenabled = false\n"
        "[triggering_service.triggers.napali]\ntrigger_local = true\n"
    )
    section = read_config([path]).triggering_service
    entries = {entry.name: entry.settings for entry in configured_triggers(section)}
    assert entries["frequency"] == {"rocof_hz_per_s": 0.5} and entries["napali"] == {"trigger_local": True}
    assert set(DEFAULT_TRIGGERS) - set(entries) == {"flicker"}
    made = TriggersInUse(section, ServiceCounters(), log.get())
    assert [each.name for each in made.all] == list(entries)


def test_the_originals_napali_is_ours_with_its_settings() -> None:
    plugins = [{"path": "/opt/libnapali_trigger.so", "f_min": 59.5, "grace_time_ms": 100, "unknown": 1}]
    found = from_original("makai", {"zmq_trigger_endpoint": "tcp://x:1", "plugins": plugins}, "makai.conf")
    (entry,) = found["triggering_service"]["plugins"]
    assert entry == {"name": "napali", "settings": {"f_min": 59.5, "grace_time_ms": 100}}


def test_a_wrong_table_says_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match="rocof_hz_per_s  is 'fast'"):
        wrong = TriggeringServiceSection(triggers={"frequency": {"rocof_hz_per_s": "fast"}})
        TriggersInUse(wrong, ServiceCounters(), log.get())
    with pytest.raises(ConfigError, match=r"triggers\.frequency: enabled: want true or false"):
        configured_triggers(TriggeringServiceSection(triggers={"frequency": {"enabled": "no"}}))
