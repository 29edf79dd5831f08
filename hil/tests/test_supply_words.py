"""What simulated Boxes say of their supplies and hold while their network is out; supplies lost on demand."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from opq_proto.measurement.supply_word import SupplyWord, supply_word
from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost
from opq_sim.box.control import Control, truth_written
from opq_sim.box.source import RunClock
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import network_grid, plain_grid
from opq_sim.fleet.sampled_box import SampledBox
from opq_sim.fleet.virtual_boxes import VirtualBoxes
from opq_sim.mains.generator import Generator
from opq_sim.power_system.power_scenario import PowerScenario, load_power_scenario, power_system_of
from opq_sim.power_system.power_source import power_sources
from opq_sim.score.truth_file import read_truth

S = 10**9
START_NS = 1_700_000_000 * S
STREET = """
[network]
supply = { bus = "mv", short_circuit_mva = 100.0 }
bus = [{ id = "mv", nominal_kv = 20.0 }, { id = "street", nominal_kv = 0.4 }]
transformer = [{ id = "t1", from_bus = "mv", to_bus = "street", rating_kva = 250.0 }]
"""


def street(folder: Path, *supplies: str) -> PowerScenario:
    boxes = [f'[[box]]\nid = "{number}"\nat = "street"\n{each}\n' for number, each in enumerate(supplies, 1)]
    path = folder / "street.toml"
    path.write_text(STREET + "".join(boxes))
    return load_power_scenario(path)


def test_a_fleets_battery_shows_at_both_depths(tmp_path: Path) -> None:
    charged = "supply = { lost = [[3.0, 6.0]], battery_s = 4.0, outlet_dead = true }"
    grid = network_grid(street(tmp_path, charged, "supply = { lost = [[3.0, 6.0]] }", ""), ["1", "2", "3"])
    boxes, rows = VirtualBoxes(grid, START_NS), list[Measurement]()
    for at_s in range(1, 15):
        columns, some = boxes.measured(float(at_s))
        rows += [*some, *(columns.rows() if columns is not None else ())]
    reported = {
        box_id: [
            (row.end_ns / S - START_NS / S, supply_word(row.metrics))
            for row in rows
            if row.box_id == box_id and not row.crossing and row.end_ns is not None
        ]
        for box_id in ("1", "2", "3")
    }
    low = [at_s for at_s, word in reported["1"] if word is SupplyWord.ON_BATTERY]
    assert len(low) >= 4 and low[0] == pytest.approx(3.5, abs=0.6) and max(low) <= 7.0
    words = [word for _, word in reported["1"]]
    assert (words[0], words[1]) == (SupplyWord.WELL, None), "and once a minute"
    assert words[words.index(SupplyWord.ON_BATTERY) :].count(SupplyWord.WELL) == 1, "it is back"
    assert not any(3.0 < at_s < 9.0 for at_s, _ in reported["2"]), "without a battery it is silent"
    assert {word for box_id in ("2", "3") for _, word in reported[box_id]} == {None}
    clock = RunClock(0, START_NS, 100, TimeSource.GPS)
    healths = [SampledBox(one.box_id, one.samples(), clock).health(4 * S) for one in grid.outlets]
    volts = [None if each is None else (each.supply_v, each.battery_v) for each in healths]
    assert volts == [(0.0, pytest.approx(3.9)), (0.0, None), None], "as its gateway hears it"


def test_measurements_of_an_outage_come_afterwards() -> None:
    ids, out_s = ["1", "2"], list[float]()

    def received(outages: NetworkOutages | None) -> list[Measurement]:
        boxes, rows = VirtualBoxes(plain_grid(ids), START_NS, outages=outages), list[Measurement]()
        for at_s in range(1, 121):
            columns, some = boxes.measured(float(at_s))
            came = [*some, *(columns.rows() if columns is not None else ())]
            late = [each for each in came if (each.end_ns or 0) < START_NS + (at_s - 2) * S]
            assert all(each.backfilled for each in late)
            if boxes.waveform("1", START_NS + (at_s - 1) * S, START_NS + at_s * S) is None:
                out_s.append(at_s)
                assert "1" not in {each.box_id for each in came}
            rows += came
        assert boxes.expired == 0
        return rows

    def in_order(rows: list[Measurement]) -> list[Measurement]:
        return sorted(rows, key=lambda each: (each.box_id, each.end_ns or 0))

    whole = received(None)
    assert out_s == []
    with_outages = received(NetworkOutages(ids, 40.0, 20.0, 1))
    assert len(out_s) > 10 and sum(each.backfilled for each in with_outages) > 20
    last_ns = {box_id: max(r.end_ns or 0 for r in with_outages if r.box_id == box_id) for box_id in ids}
    expected = [each for each in whole if (each.end_ns or 0) <= last_ns[each.box_id]]
    assert in_order([replace(each, backfilled=False) for each in with_outages]) == in_order(expected)


def ask(host: BoxHost, folder: Path, **request: object) -> dict[str, object]:
    return Control(host, folder).answer(
        json.dumps({"do": "event", "kind": "supply_lost", **request}).encode()
    )


def test_a_supply_lost_on_demand_is_true(tmp_path: Path) -> None:
    planned = street(tmp_path, "", "supply = { lost = [[900.0, 5.0]], battery_s = 60.0 }")
    sources = power_sources(planned, power_system_of(planned))
    host = BoxHost([*(Box(box_id, source) for box_id, source in sources.items()), Box("7", Generator())])
    assert "runs on a pty" in str(ask(host, tmp_path, box="1")["error"]), "not before it runs"
    with truth_written(host, tmp_path / "truth"), host:
        answer = ask(host, tmp_path, box="1", seconds=20, values={"outlet_dead": True})
        assert answer["words"] == "supply lost for 20 s, no battery, its outlet is dead, too"
        assert ask(host, tmp_path, box="2", seconds=3)["words"] == "supply lost for 3 s, a battery of 60 s"
        for wrong, words in (
            ({"box": "2", "values": {"battery_s": 1}}, "from its scenario"),
            ({"box": "1", "seconds": 5}, "lost already"),
            ({"box": "7", "values": {"outlet_dead": True}}, "no network"),
            ({"box": "7", "seconds": 0}, "more than 0"),
            ({"box": "7", "seconds": "5"}, "want a number"),
            ({"box": "7", "values": {"volts": 5}}, "volts"),
            ({"box": "7", "depth": 0.5}, "unknown key 'depth'"),
        ):
            refused = ask(host, tmp_path, **wrong)
            assert not refused["ok"] and words in str(refused["error"]), refused
        until_s = time.monotonic() + 240
        while not (found := read_truth(tmp_path / "truth").disturbances) and time.monotonic() < until_s:
            time.sleep(0.02)
        start_ns = host.clock.start_ns + round(float(str(answer["at_s"])) * S)
    (outage,) = found
    assert (outage.kind, outage.cause, list(outage.boxes)) == ("outage", "supply_lost", ["1"])
    assert outage.boxes["1"].start_ns == pytest.approx(start_ns, abs=1000)
    lines = [json.loads(line) for line in (tmp_path / "truth" / "boxes.jsonl").read_text().splitlines()]
    assert [(each["box"], each["what"]) for each in lines] == [
        ("1", "supply_lost"),
        ("1", "silent"),
        ("2", "supply_lost"),
        ("2", "supply_lost"),
    ]


def test_a_box_without_network_boots_again() -> None:
    box, frames = Box("7", Generator()), list[bytes]()

    class Wire:
        waiting_bytes = lost_bytes = 0

        def send(self, data: bytes) -> None:
            frames.append(data)

        def flush(self, now_ns: int) -> None:
            """Nothing waits."""

    box.start(Wire(), RunClock.now())  # type: ignore[arg-type]
    at_s, supply = box.lose_supply(2.0, {})
    assert supply.silent_s == ((at_s, pytest.approx(at_s + 2.0)),)
    sent = list[int]()
    for tenth in range(int(10 * at_s) + 40):
        now_ns = box.clock.monotonic_ns + tenth * S // 10
        before = len(frames)
        box.tick(now_ns)
        while box.due_ns() <= now_ns:
            box.tick(now_ns)
        sent.append(len(frames) - before)
    dark = range(int(10 * at_s) + 1, int(10 * (at_s + 2.0)))
    assert not any(sent[tenth] for tenth in dark) and all(sent[-10:])
    assert box.hello().boot_id == 2
