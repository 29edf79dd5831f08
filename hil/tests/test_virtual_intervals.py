"""Class A in closed form equals what the gateway measures of the same outlet's samples."""

from pathlib import Path

import numpy as np
import pytest

from opq_gateway.measuring.box_meter import BoxMeter, cut_all
from opq_gateway.measuring.feed import DISTURBANCES, Values
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Sinks
from opq_gateway.measuring.window_figures import figures_of
from opq_measure.timebase.window import Window
from opq_proto.messages import TimeSource
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock
from opq_sim.fleet.outlets import FleetOutlet, network_grid
from opq_sim.fleet.virtual_intervals import VirtualIntervals
from opq_sim.power_system.power_scenario import load_power_scenario

START_NS = 1_700_000_400 * 10**9
RATE = 12_000
OF_WINDOWS = ("rms_min_v", "f_min_hz", "f_max_hz", "thd_max_ratio")
"""Extremes of single windows, of which one holds a dip."""
TOWN = """
nominal_v = 230.0
nominal_hz = 50.0
grid = { frequency_hz = 50.0, wander_hz = 0.2, wander_s = 900.0 }
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
feeder = [{ id = "line", from_bus = "mv", km = 4.0 }]
transformer = [{ id = "t1", from_bus = "line/4km", to_bus = "street", rating_kva = 250.0 }]
load = [{ bus = "street", kw = 80.0, kvar = 20.0 }]
[[box]]
id = "1"
at = "street"
gain_error = 0.002
[[cause]]
kind = "converter_load"
at = "street"
at_s = 63.2
values = { kw = 90.0, seconds = 380.0 }
[[cause]]
kind = "fault"
at = "line/2km"
at_s = 300.05
values = { type = "LLL", resistance_ohm = 2.0, clear_ms = 130.0 }
"""


def outlet(folder: Path) -> FleetOutlet:
    path = folder / "town.toml"
    path.write_text(TOWN)
    return network_grid(load_power_scenario(path), ["1"], 1).outlets[0]


def by_the_gateway(box: FleetOutlet, seconds: int) -> list[Values]:
    """Intervals and disturbances of all samples, flicker too."""
    found: list[Values] = []
    source = box.samples()
    stamps = BoxStamps(RunClock(0, START_NS, 100, TimeSource.GPS), source)
    meter = BoxMeter(
        MeasuringPlan("1", source.nominal_v, source.nominal_hz),
        Sinks(
            measured=lambda each: None,
            values=found.append,
            notice=lambda each: None,
            window=lambda *each: None,
            phasor=lambda each: None,
            phasors_wanted=lambda: False,
        ),
    )
    for second in range(0, seconds, 2):
        meter.push_blocks([stamps.block(source, second * RATE, 2 * RATE)])
        cut_all([meter])
        steps = meter.steps()
        windows = [step for step in steps if isinstance(step, Window)]
        meter.finish(steps, iter(figures_of(windows, [230.0] * len(windows))))
    return [each for each in found if each.kind in ("10min", *DISTURBANCES)]


def test_ten_minutes_equal_those_of_all_samples(tmp_path: Path) -> None:
    """A load that comes and goes, a dip, a wandering frequency, a wrong gain: each value, the flicker too."""
    measured = by_the_gateway(outlet(tmp_path), 606)
    rows = VirtualIntervals(network_grid(load_power_scenario(tmp_path / "town.toml"), ["1"], 1), START_NS)
    made = rows.advance(606.0)
    of_kind = [each for each in made if each.interval is not None and each.interval.length_ms == 600_000]
    ours: dict[str, object] = {}
    for each in of_kind:
        assert each.interval is not None and each.start_ns == START_NS
        ours |= each.interval.values
    theirs: dict[str, object] = {}
    ten = [each for each in measured if each.kind == "10min"]
    for values in ten:
        theirs |= values.values
    coverage = theirs.pop("coverage_ratio")
    assert coverage == of_kind[0].interval.coverage == 1.0  # type: ignore[union-attr]
    assert any(each.flagged for each in ten) and of_kind[0].interval.flagged  # type: ignore[union-attr]
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        if name == "angles_deg":
            off_deg = (np.asarray(ours[name]) - np.asarray(value) + 180) % 360 - 180
            assert np.abs(off_deg).max() < 0.01
        elif name in OF_WINDOWS:
            assert isinstance(ours[name], float), "windows lie elsewhere, and hold more or less of the dip"
        elif isinstance(value, tuple):
            of_dip_v = 0.5 if name == "interharmonics_v" else 0.05  # by the window that holds it
            assert np.asarray(ours[name]) == pytest.approx(np.array(value), abs=of_dip_v), name
        elif name in ("pst", "pinst_max"):
            assert ours[name] == pytest.approx(value, rel=0.01), name
        else:
            assert ours[name] == pytest.approx(value, rel=6e-4 if "urms" in name else 1e-4, abs=1e-5), name
    dips = [each.disturbance for each in made if each.disturbance is not None]
    events = [each for each in measured if each.kind in DISTURBANCES]
    assert len(dips) == len(events) == 1
    assert (dips[0].start_ns, dips[0].end_ns) == (events[0].start_ns, events[0].end_ns)
    assert dips[0].residual_v == pytest.approx(events[0].values["residual_v"], abs=1e-3)
