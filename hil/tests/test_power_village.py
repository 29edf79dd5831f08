"""The scenarios `village` and `village_random`, and causes on demand through the control socket."""

import hashlib
import json
from collections import Counter
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

from opq_measure.aggregation.unbalance import fundamental, unbalance
from opq_proto.errors import ConfigError
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import Control, truth_written
from opq_sim.box.run_boxes import plan_fleet
from opq_sim.mains.generator import Generator
from opq_sim.mains.scenario import scenario_path
from opq_sim.power_system.causes.catalogue import CAUSES
from opq_sim.power_system.disturbance_truth import TruthFiles
from opq_sim.power_system.power_scenario import load_power_scenario, power_system_of, schedule_of
from opq_sim.power_system.power_source import power_sources

START_NS = 1_795_305_600_300_000_000
TRUTH_DIGEST = "5184d68749549806"
SAMPLES_DIGEST = "75ea038d489b2df4"
"""Half an hour of seed 1. The same on Python 3.11 to 3.13 with NumPy 1.26 to 2.5, without AVX2 and AVX512,
and with five of OpenBLAS' kernels; a change of them is a change of every scenario."""


@pytest.fixture(scope="module")
def village():
    return load_power_scenario(scenario_path("village"))


def test_something_happens_each_minute(village):
    planned = list(takewhile(lambda item: item[0] < 3600, schedule_of(village)))
    minutes = [int(at_s // 60) for at_s, _ in planned]
    assert minutes == list(range(60))
    assert {cause.name for at_s, cause in planned if at_s < 1800} == set(CAUSES) - {"uneven_load"}
    feeders = {power_system_of(village).feeder_of(box.at) for box in village.box}
    assert len(village.box) == 12
    assert feeders == {"feeder1", "feeder2", "feeder3"}


def test_the_random_village_has_each_cause(village):
    """Three times an hour."""
    random = load_power_scenario(scenario_path("village_random"))
    assert (random.network, random.box, random.place) == (village.network, village.box, village.place)
    assert (random.frequency, random.nominal_v, random.start_hour) == (village.frequency, 230.0, 8.0)
    assert [each.kind for each in random.process] == [each.kind for each in village.cause]
    assert {each.per_hour for each in random.process} == {3.0} and not random.cause
    planned = [list(takewhile(lambda item: item[0] < 36000, schedule_of(random, seed))) for seed in (1, 2)]
    assert planned[0] != planned[1]
    assert all(len(each) == pytest.approx(900, abs=150) for each in planned)  # five standard deviations


def test_the_random_town_has_a_hundred_boxes():
    """And each cause some 360 times a day."""
    town = load_power_scenario(scenario_path("town_random"))
    system = power_system_of(town)
    feeders = Counter(system.feeder_of(box.at) for box in town.box)
    assert sum(feeders.values()) == 100 and len(feeders) == 6
    assert {each.at for each in town.place} == {box.at for box in town.box}
    planned = list(takewhile(lambda item: item[0] < 86400, schedule_of(town, 1)))
    assert {cause.name for _, cause in planned} == set(CAUSES) - {"uneven_load"}
    assert len(planned) == pytest.approx(360, abs=95)  # five standard deviations


def test_the_truth_has_contract_classes(village, tmp_path):
    """And is the same twice."""
    texts = []
    for name, until_s in (("a", 1800.0), ("b", 500.0)):
        system = power_system_of(village, 7)
        files = TruthFiles(tmp_path / name, system, 0)
        system.before(until_s)
        files.close()
        assert not system.refused
        texts.append((tmp_path / name / "truth.jsonl").read_bytes())
    assert texts[1].count(b"\n") == 9 and texts[0].startswith(texts[1])
    lines = [json.loads(line) for line in texts[0].splitlines()]
    assert len(lines) == 30
    kinds = {kind for line in lines for seen in line["boxes"].values() for kind in seen["class"].split("+")}
    assert kinds >= {
        "sag",
        "swell",
        "interruption",
        "rapid_voltage_change",
        "impulsive_transient",
        "oscillatory_transient",
        "harmonics",
        "flicker",
        "mains_signalling",
        "phase_jump",
        "frequency_deviation",
    }
    assert {line["scope"] for line in lines} >= {"local", "region", "wide_area", None}


def test_half_an_hour_is_version_independent(village, tmp_path):
    system = power_system_of(village, 1)
    files = TruthFiles(tmp_path, system, START_NS)
    system.before(1805.0)
    files.close()
    text = (tmp_path / "truth.jsonl").read_bytes()
    assert hashlib.sha256(text).hexdigest().startswith(TRUTH_DIGEST)
    sources, samples = power_sources(village, power_system_of(village, 1), 1), hashlib.sha256()
    for line in map(json.loads, text.splitlines()):
        first = round((line["start_ns"] - START_NS) * 12e-6) - 1000
        for box_id in sorted(line["boxes"], key=int)[:2]:
            samples.update(sources[box_id].counts(first, 6000).astype("<i2").tobytes())
    assert samples.hexdigest().startswith(SAMPLES_DIGEST)


def test_three_phases_has_an_unbalance_each_minute(tmp_path):
    scenario = load_power_scenario(scenario_path("three_phases"))
    system = power_system_of(scenario)
    sources = power_sources(scenario, system)

    def u2_percent(at_s: int):
        volts = [sources[box_id].counts(at_s * 12_000, 2400) * sources[box_id].v_per_lsb for box_id in "123"]
        return unbalance(np.array([fundamental(each, 0.0, 2400.0, 10) for each in volts])).u2_percent

    files = TruthFiles(tmp_path, system, START_NS)
    assert [u2_percent(at_s) for at_s in (14, 16, 44, 46)] == pytest.approx([0.0, 2.87, 2.87, 0.0], abs=0.05)
    files.close()
    (line,) = map(json.loads, (tmp_path / "truth.jsonl").read_text().splitlines())
    assert line["cause"] == "uneven_load" and line["boxes"]["1"]["class"] == "unbalance"


def test_a_cause_on_demand_reaches_the_network(tmp_path):
    fleet = plan_fleet(scenario="village", truth=tmp_path / "truth")
    boxes = fleet.boxes()
    host = BoxHost(boxes)
    control = Control(host, tmp_path)
    before = boxes[4].source.counts(0, 12_000)
    request = {
        "do": "event",
        "cause": "fault",
        "at": "feeder2/3.1km",
        "values": {"type": "LLL", "clear_ms": 120},
    }
    answer = control.answer(json.dumps(request).encode())
    assert answer["ok"] and answer["words"] == "LLL fault at feeder2/3.1km, cleared after 120 ms"
    after = boxes[4].source.counts(12_000, 12_000)
    first, second = (
        np.sqrt(np.mean(part.astype(float).reshape(-1, 240) ** 2, axis=1)) for part in (before, after)
    )
    assert second.min() < 0.7 * first.min()
    for wrong, words in (
        ({"cause": "quake"}, "quake"),
        ({"at": "feeder9/1km"}, "feeder9"),
        ({"values": {"clear_s": 1.0}}, "clear_ms"),
        ({"values": [1]}, "want a table"),
        ({"box": "1"}, "unknown key 'box'"),
    ):
        refused = control.answer(json.dumps({**request, **wrong}).encode())
        assert not refused["ok"] and words in refused["error"]
    sag = control.answer(b'{"do": "event", "box": "1", "kind": "sag"}')
    assert "is connected to a network" in sag["error"]
    assert control.malformed == 6


def test_boxes_without_network_have_no_causes(tmp_path: Path):
    host = BoxHost([Box("1", Generator())])
    answer = Control(host, tmp_path).answer(b'{"do": "event", "cause": "fault", "at": "mv"}')
    assert "no network" in answer["error"]
    with pytest.raises(ConfigError, match="--truth"), truth_written(host, tmp_path):
        pass
    with pytest.raises(ConfigError, match="--truth"):
        plan_fleet(scenario="lightning_dip", truth=tmp_path)


def test_a_run_writes_its_truth_in_time(tmp_path):
    fleet = plan_fleet(scenario="village", truth=tmp_path / "truth")
    boxes = fleet.boxes()[:2]
    host = BoxHost(boxes)
    with truth_written(host, fleet.truth), host:
        boxes[0].source.system.before(20.0)
        start_ns = host.clock.start_ns
    (line,) = [json.loads(text) for text in (tmp_path / "truth" / "truth.jsonl").read_text().splitlines()]
    assert start_ns + 15 * 10**9 <= line["start_ns"] < start_ns + 15.03 * 10**9
