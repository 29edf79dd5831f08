"""Clock and supply of a Box of a network: what its stamps say is true, and what it says when supply goes."""

import json
import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from opq_proto.errors import ConfigError
from opq_proto.link import frames as link
from opq_proto.link.messages import GpsState, GpsStatus, Health, Hello, LinkMessage, Samples
from opq_proto.messages import TimeSource
from opq_sim.box.box import RESET_POWER, RESET_SOFTWARE, Box
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.box.source import RunClock
from opq_sim.fleet.fleet_meter import FleetMeter
from opq_sim.fleet.outlets import network_grid
from opq_sim.fleet.source_store import SourceStore
from opq_sim.fleet.truth_witness import TruthWitness
from opq_sim.mains.replay import Replay
from opq_sim.mains.sampling import SampleClock
from opq_sim.mains.scenario import scenario_path
from opq_sim.power_system.box_supply import BoxSupplyConfig
from opq_sim.power_system.box_times import BoxOutage, BoxTimes, outages_of
from opq_sim.power_system.power_scenario import PowerScenario, load_power_scenario, power_system_of
from opq_sim.power_system.power_source import RATE_MILLIHZ, PowerSource, box_times_of, power_sources
from opq_sim.power_system.timekeeping import LOCK_S, Timekeeping, TimekeepingConfig
from opq_sim.score.figures import score
from opq_sim.score.records import BoxSpan, FoundIncident
from opq_sim.score.truth_file import read_truth

S = 10**9
START_NS = 1_700_000_000 * S
STREET = """
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
transformer = [{ id = "t1", from_bus = "mv", to_bus = "street", rating_kva = 250.0 }]
[[box]]
id = "1"
at = "street"
"""
RUN = RunClock(5 * S, START_NS, 77, TimeSource.FREE)


def scenario(folder: Path, box: str) -> PowerScenario:
    path = folder / "street.toml"
    path.write_text(STREET + box)
    return load_power_scenario(path)


def test_the_stated_bound_holds_for_hours() -> None:
    """Hours in which the reference is lost and comes back."""
    draw = np.random.default_rng(3)
    for seed in range(40):
        bound, ageing = draw.uniform(0, 2000, 2)
        lost = ((float(draw.uniform(0, 60)), float(draw.uniform(1, 7200))), (8000.0, 3000.0))
        config = TimekeepingConfig(
            source="gps",
            gps_lost=lost,
            holdover_ppb=float(draw.uniform(-bound, bound)),
            holdover_ageing_ppb_per_h=float(draw.uniform(-ageing, ageing)),
            bound_ppb=float(bound),
            bound_ageing_ppb_per_h=float(ageing),
        )
        keeping = Timekeeping(config, SampleClock(), RATE_MILLIHZ, seed)
        edges = [at for begin, length in lost for at in (begin, begin + length, begin + length + LOCK_S)]
        for t_s in [*draw.uniform(0, 12_000, 300), *edges, *(at - 1e-6 for at in edges)]:
            found = keeping.reading(float(t_s))
            assert abs(found.error_ns) <= found.uncertainty_ns, (seed, t_s)
            away = any(begin <= t_s < begin + length + LOCK_S for begin, length in lost)
            assert found.source == (TimeSource.HOLDOVER if away else TimeSource.GPS)
            assert away or found.uncertainty_ns == 100


def test_ntps_bound_holds_and_it_wanders() -> None:
    keeping = Timekeeping(
        TimekeepingConfig(source="ntp", ntp_wander_ms=3.0, ntp_wander_s=100.0), SampleClock(), RATE_MILLIHZ, 5
    )
    found = [keeping.reading(t_s) for t_s in np.arange(0, 2000, 0.7)]
    errors = np.array([each.error_ns for each in found])
    assert max(abs(errors)) <= min(each.uncertainty_ns for each in found) < 3.31e6
    assert np.ptp(errors) > 4e6
    assert {each.source for each in found} == {TimeSource.NTP}


def test_holdover_grows_as_its_rate_and_ageing_say() -> None:
    config = TimekeepingConfig(
        source="gps", gps_lost=((10.0, 7200.0),), holdover_ppb=20.0, holdover_ageing_ppb_per_h=4.0
    )
    keeping = Timekeeping(config, SampleClock(), RATE_MILLIHZ, 1)
    error_ns = keeping.reading(10.0 + 3600).error_ns
    assert error_ns == pytest.approx(20.0 * 3600 + 4.0 * 3600 / 2, abs=50)
    assert keeping.reading(10.0 + 7200 + LOCK_S / 2).error_ns == pytest.approx(
        (20.0 * 7200 + 4.0 * 7200) / 2, abs=51
    )


def test_a_fast_oscillators_stamps_stay_true(tmp_path: Path) -> None:
    """Its rate is stated."""
    planned = scenario(tmp_path, 'clock_ppm = 80.0\nclock = { source = "gps" }\n')
    source = power_sources(planned, power_system_of(planned))["1"]
    clock = BoxStamps(RUN, source)
    for sample in (0, 12_000, 43_200_000):
        true_ns = START_NS + round(sample / (12_000 * (1 + 80e-6)) * 1e9)
        stamp = clock.stamp(sample)
        assert abs(stamp.t_ns - true_ns) <= 100 and stamp.uncertainty_ns == 100
        assert stamp.rate_millihz == 12_000_960
        assert clock.taken(clock.due_ns(sample) + 1_000) == sample
        assert abs(clock.sample_at(stamp.t_ns) - sample) <= 1
    planned = scenario(tmp_path, "")
    plain = BoxStamps(RUN, power_sources(planned, power_system_of(planned))["1"])
    assert plain.stamp(12_000).t_ns == START_NS + S
    assert (plain.stamp(0).uncertainty_ns, plain.stamp(0).source) == (77, TimeSource.FREE)


def test_a_fleets_measurements_state_their_time_source(
    tmp_path: Path,
) -> None:
    planned = scenario(
        tmp_path,
        "clock_ppm = 20.0\n"
        'clock = { source = "gps", gps_lost = [[4.0, 6.0]], holdover_ppb = -900.0, bound_ppb = 1000.0 }\n',
    )
    clock = RunClock(0, START_NS, 77, TimeSource.FREE)
    grid = network_grid(planned, ["1"])
    meter = FleetMeter(grid, clock, cycles=50, seed=1)
    meter.begin(0, 0.0)
    found = []
    for t_s in np.arange(0.5, 18.0, 0.5):
        assert meter.measure_quiet(float(t_s)) is None
        found += [each for _, each in meter.measure_disturbed(float(t_s))]
    assert len(found) >= 14
    sources = [each.source for each in found]
    assert sources[0] == TimeSource.GPS and TimeSource.HOLDOVER in sources[3:12]
    assert sources[-1] == TimeSource.GPS
    voltage = grid.outlets[0].voltage
    for each in found:  # its ends are rising zero crossings: whole cycles of the true phase
        assert each.start_ns is not None and each.uncertainty_ns is not None
        true_s = (each.start_ns - START_NS) / 1e9
        off_cycles = float(voltage.cycles(np.array([true_s]))[0]) % 1.0
        off_ns = min(off_cycles, 1 - off_cycles) / 50.0 * 1e9
        assert off_ns <= each.uncertainty_ns + 20_000, "noise moves a crossing by some microseconds"
    worst = max(each.uncertainty_ns or 0 for each in found)
    assert 5_000 < worst < 8_000


def test_without_battery_a_dark_box_measures_nothing(tmp_path: Path) -> None:
    planned = scenario(tmp_path, "supply = { lost = [[3.0, 4.0]] }\n")
    clock = RunClock(0, START_NS, 77, TimeSource.GPS)
    grid = network_grid(planned, ["1"])
    meter = FleetMeter(grid, clock, cycles=50, seed=1)
    meter.begin(0, 0.0)
    found = []
    for t_s in np.arange(0.3, 12.0, 0.3):
        meter.measure_quiet(float(t_s))
        found += [each for _, each in meter.measure_disturbed(float(t_s))]
    spans = [((each.start_ns or 0) - START_NS, (each.end_ns or 0) - START_NS) for each in found]
    assert all(end <= 3.001 * S or begin >= 6.999 * S for begin, end in spans), spans
    assert (
        sum(end <= 3.001 * S for _, end in spans) >= 2 and sum(begin >= 6.999 * S for begin, _ in spans) >= 3
    )
    assert all(not each.crossing for each in found), "a Box that comes back has not seen a dip"
    outlet = grid.outlets[0]
    store = SourceStore("1", outlet.samples, RATE_MILLIHZ, clock, lambda: 20 * S)
    assert store.read(START_NS + 4 * S, START_NS + 6 * S) is None
    both = store.read(START_NS + 2 * S, START_NS + 8 * S)
    assert both is not None
    (gap,) = both.gaps
    assert (gap.first_sample, gap.samples, gap.reason) == (36_000, 48_000, "the Box had no supply")
    before, after = both.runs()
    assert abs(before.end_ns - (START_NS + 3 * S)) < 1e6 and abs(after.start_ns - (START_NS + 7 * S)) < 1e6
    np.testing.assert_array_equal(after.counts[:200], outlet.samples().counts(84_000, 200))


class Wire:
    """What a Box sends."""

    waiting_bytes = lost_bytes = 0

    def __init__(self) -> None:
        self._decoder = link.Decoder()
        self.received: list[LinkMessage] = []

    def send(self, data: bytes) -> None:
        self.received += [message for _, message in self._decoder.feed(data)]

    def flush(self, now_ns: int) -> None:
        """Nothing waits."""


def lived(planned: PowerScenario, seconds: float, step_s: float = 0.1) -> Wire:
    """A Box on a line for so long, its process awake every `step_s`."""
    wire, box = Wire(), Box("1", power_sources(planned, power_system_of(planned))["1"])
    box.start(wire, RUN)  # type: ignore[arg-type]
    for tick in range(1, round(seconds / step_s) + 1):
        now_ns = RUN.monotonic_ns + round(tick * step_s * 1e9)
        box.tick(now_ns)
        while box.due_ns() <= now_ns:
            box.tick(now_ns)
    return wire


@pytest.mark.parametrize("step_s", [0.1, 2.5])  # the second sleeps through the silence
def test_a_dark_box_on_a_line_boots_again(tmp_path: Path, step_s: float) -> None:
    """It is silent without supply."""
    wire = lived(scenario(tmp_path, "supply = { lost = [[2.0, 1.5]] }\n"), 15.0, step_s)
    blocks = [each for each in wire.received if isinstance(each, Samples)]
    first_again = next(at for at, each in enumerate(blocks) if at and each.first_sample == 0)
    assert blocks[first_again].t_ns >= START_NS + 3.5 * S
    assert blocks[first_again].t_ns - (START_NS + 3.5 * S) < 20e6
    if step_s < 1:
        assert START_NS + 1.8 * S < blocks[first_again - 1].t_ns < START_NS + 2.0 * S
    assert all(not START_NS + 2.0 * S <= each.t_ns < START_NS + 3.5 * S for each in blocks)
    boots = [each.boot_id for each in wire.received if isinstance(each, Hello)]
    assert sorted(set(boots)) == [1, 2] and boots == sorted(boots)
    causes = [each.reset_cause for each in wire.received if isinstance(each, Health)]
    assert list(dict.fromkeys(causes)) == [RESET_SOFTWARE, RESET_POWER]  # a program starts it first


def test_a_box_reports_riding_on_its_battery(tmp_path: Path) -> None:
    wire = lived(scenario(tmp_path, "supply = { lost = [[2.0, 4.0]], battery_s = 60.0 }\n"), 9.0)
    blocks = [each for each in wire.received if isinstance(each, Samples)]
    assert [each.first_sample for each in blocks] == list(range(0, 200 * len(blocks), 200))
    supply = [(each.supply_v, each.battery_v) for each in wire.received if isinstance(each, Health)]
    assert supply[0] == (5.0, pytest.approx(4.1))
    assert {supply_v for supply_v, _ in supply} == {0.0, 5.0} and supply[-1][0] == 5.0
    carried = [battery_v for supply_v, battery_v in supply if supply_v == 0.0]
    assert len(carried) >= 3 and carried == sorted(carried, reverse=True)


def test_a_dead_outlet_is_the_truths_outage(tmp_path: Path) -> None:
    """It is measured on the battery."""
    own = "supply = { lost = [[2.0, 20.0]], battery_s = 60.0, outlet_dead = true }\n"
    planned = scenario(tmp_path, own)
    source = power_sources(planned, power_system_of(planned))["1"]
    rms_v = [np.std(source.counts(at_s * 12_000, 2400)) * source.v_per_lsb for at_s in (1, 2, 21, 22)]
    assert rms_v == pytest.approx([rms_v[0], 0.0, 0.0, rms_v[0]], abs=2.0) and rms_v[0] > 200
    assert outages_of(box_times_of({"1": Box("1", source)})) == (BoxOutage(2.0, 22.0, ("1",)),)
    alone = BoxSupplyConfig(lost=((2.0, 90.0),), battery_s=5.0)  # its adaptor, and it reports so
    assert outages_of({"1": BoxTimes(None, alone)}) == ()
    shipped = load_power_scenario(scenario_path("outages"))
    assert [bool(box.supply and box.supply.battery_s) for box in shipped.box] == [True, False, True, False]


def test_a_box_on_a_line_reports_holdover(tmp_path: Path) -> None:
    wire = lived(scenario(tmp_path, 'clock = { source = "gps", gps_lost = [[2.0, 3.0]] }\n'), 14.0)
    states = [each.state for each in wire.received if isinstance(each, GpsStatus)]
    assert states[0] == states[-1] == GpsState.LOCKED
    assert states.count(GpsState.HOLDOVER) >= 5
    blocks = [each for each in wire.received if isinstance(each, Samples)]
    assert {each.source for each in blocks} == {TimeSource.GPS, TimeSource.HOLDOVER}


def test_a_runs_truth_has_clock_and_supply_events(tmp_path: Path) -> None:
    path = tmp_path / "street.toml"
    scenario(
        tmp_path,
        'clock = { source = "gps", gps_lost = [[2.0, 3.0]] }\n'
        "supply = { lost = [[1.0, 9.0]], battery_s = 4.0 }\n",
    )
    with closing(TruthWitness(path, ["1", "2"], 1, tmp_path / "truth", START_NS)):
        lines = [json.loads(line) for line in (tmp_path / "truth" / "boxes.jsonl").read_text().splitlines()]
    own = [(each["what"], each["start_ns"] - START_NS, each["end_ns"] - START_NS) for each in lines]
    wanted = [("gps_lost", 2 * S, 5 * S), ("supply_lost", S, 10 * S), ("silent", 5 * S, 10 * S)]
    assert own == wanted + wanted[1:], "a second Box at the place has its supply, and its own clock"
    assert [each["box"] for each in lines] == ["1"] * 3 + ["2"] * 2


def test_a_lost_supply_is_a_true_outage(tmp_path: Path) -> None:
    """Boxes without supply are an outage in the truth once the run is there."""
    scenario(tmp_path, "supply = { lost = [[5.0, 8.0], [65.0, 20.0], [900.0, 30.0]] }\n")
    folder = tmp_path / "truth"
    with closing(TruthWitness(tmp_path / "street.toml", ["1", "2"], 1, folder, START_NS)) as witness:
        witness.advance(64.0)
        assert read_truth(folder).disturbances == ()  # 8 s are not a disturbance
        witness.advance(66.0)
        read = read_truth(folder)
    (outage,) = read.disturbances  # that of 900 s never came
    assert (outage.kind, outage.scope, outage.cause, read.problems) == ("outage", "local", "supply_lost", ())
    span = BoxSpan("outage", START_NS + 65 * S, START_NS + 85 * S, side="downstream")
    assert outage.boxes == {"1": span, "2": span}
    found = FoundIncident(1, "outage", "local", {"1": replace(span, start_ns=span.start_ns + 150_000_000)})
    assert score([outage], [found])["by_class"]["outage"]["recall"] == 1.0
    missed = score([outage], [])
    assert (missed["missed"], missed["by_class"]["outage"]["recall"]) == (1, 0.0)


def recording(folder: Path, hz: float = 50.0) -> Path:
    """1.6 s at 50 Hz; in the middle 12 cycles of 60 %."""
    volts = 230 * math.sqrt(2) * np.sin(2 * math.pi * hz * np.arange(19_200) / 12_000)
    volts[9_600:12_480] *= 0.6
    path = folder / "dip.i16"
    np.rint(volts / 0.02).astype("<i2").tofile(path)
    facts = {"rate_hz": 12_000, "volts_per_lsb": 0.02, "nominal_volts": 230.0, "nominal_hz": hz}
    path.with_suffix(".json").write_text(json.dumps(facts))
    return path


def test_a_recording_plays_at_a_networks_box(tmp_path: Path) -> None:
    path = recording(tmp_path)
    planned = scenario(tmp_path, f'[[box]]\nid = "2"\nat = "street"\nrecording = "{path.name}"\n')
    boxes = {box.box_id: box for box in plan_fleet(scenario=tmp_path / "street.toml", lead_s=2.0).boxes()}
    assert isinstance(boxes["1"].source, PowerSource) and isinstance(boxes["2"].source, Replay)
    begin = boxes["2"].source.play_start(0)
    counts = boxes["2"].source.counts(0, begin + 19_200)[begin:]
    np.testing.assert_array_equal(counts, np.fromfile(path, "<i2"))
    assert "2" not in power_system_of(planned).voltages  # and so in no line of the network's truth
    grid = network_grid(planned, ["1", "2"])
    meter = FleetMeter(grid, RunClock(0, START_NS, 77, TimeSource.GPS), cycles=50, seed=1)
    for box in (0, 1):
        meter.begin(box, 0.0)
    found = []
    for t_s in np.arange(0.5, 16.0, 0.5):
        while meter.measure_quiet(float(t_s)) is not None:
            pass
        found += meter.measure_disturbed(float(t_s))
    assert {box for box, _ in found} == {1}
    least_v = min(each.metrics["rms"].min for _, each in found)
    assert least_v == pytest.approx(0.6 * 230, rel=0.01)


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ('clock = { source = "sundial" }', "box[0].clock.source"),
        ('clock = { source = "gps", holdover_ppb = 60.0 }', "bound_ppb is 50; want at least holdover_ppb 60"),
        ('clock = { source = "gps", gps_lost = [[50.0, 1.0], [10.0, 1.0]] }', "gps_lost: [10, 1]"),
        ('clock = { source = "ntp", gps_lost = [[5.0, 1.0]] }', "only gps can be lost"),
        ('recording = "nowhere.i16"', "box[0].recording"),
        ("supply = { lost = [[5.0, 10.0], [6.0, 1.0]] }", "box[0].supply.lost: [6, 1]"),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, box: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        scenario(tmp_path, box + "\n")
    assert wrong in str(refused.value)


def test_a_battery_empties_at_its_end(tmp_path: Path) -> None:
    planned = scenario(tmp_path, "supply = { lost = [[3.0, 10.0]], battery_s = 6.0 }\n")
    supply = power_sources(planned, power_system_of(planned))["1"].supply
    assert supply is not None
    assert supply.silent_s == ((9.0, 13.0),)
    assert supply.volts(2.0) == (5.0, 4.1)
    assert supply.volts(6.0) == (0.0, pytest.approx(3.7))
    assert supply.silent_until_s(8.9) is None and supply.silent_until_s(9.1) == 13.0
