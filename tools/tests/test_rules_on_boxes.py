"""The ten rules of docs/rules-boxes.md on `up --sim 3`, in Makai and in the gateway, against the Sim's truth.

Lengths are shorter than on the page where a test would wait for minutes: a day is 10 s, the minute of the
alarm is 6 s, silence is 5 s. The statements are those of the page.
"""

import json
import re
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from command_in_process import run_in_process
from free_ports import free_port
from house_under_test import House, house, until

from opq_proto.kit.ports import PORTS
from opq_rules.trying import try_text

pytestmark = pytest.mark.timeout(900)
PAGE = Path(__file__).parents[2] / "docs" / "rules-boxes.md"
RULES = dict(re.findall(r"```sql (\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL))
SHORTER = {"TUMBLINGWINDOW(dd, 1)": "TUMBLINGWINDOW(ss, 10)", ">= 60000": ">= 6000"}
STREAMS = {
    "boxes": '() WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")',
    "crossings": '() WITH (DATASOURCE="*", TYPE="opqcrossing", SHARED="true")',
    "silence": '() WITH (DATASOURCE="1,2,3", TYPE="opqsilence", SHARED="true", EXTRA=\'{"afterS": 5}\')',
}
CYCLE_MS = 1000 / 60
BOXES = ("1", "2", "3")


class Place:
    """One engine with the ten rules; each writes its rows into a file."""

    def __init__(self, name: str, url: str, data_dir: Path) -> None:
        self._name, self._url, self._data_dir = name, url, data_dir
        until(lambda: self.tool("stream", "show").returncode == 0, 90, f"the rules of {name}")
        for stream, definition in STREAMS.items():
            made = self.tool("stream", "create", stream, definition)
            assert made.returncode == 0, made.stderr
        for rule, sql in RULES.items():
            for whole, part in SHORTER.items():
                sql = sql.replace(whole, part)
            actions = ["--action", json.dumps({"file": {"path": f"{name}-{rule}.jsonl", "sendSingle": True}})]
            if rule == "waveform":
                actions += ["--action", json.dumps({"request_waveform": {}})]
            made = self.tool("create", rule, sql, *actions)
            assert made.returncode == 0, f"{rule}: {made.stderr}"

    def tool(self, *words: str) -> Any:
        return run_in_process("rules", *words, "--url", self._url)

    def rows(self, rule: str) -> list[dict[str, Any]]:
        files = list(self._data_dir.rglob(f"{self._name}-{rule}.jsonl"))
        return [json.loads(line) for line in files[0].read_text().splitlines()] if files else []

    def want(self, rule: str, count: int, timeout_s: float = 60) -> list[dict[str, Any]]:
        until(lambda: len(self.rows(rule)) >= count, timeout_s, f"{count} rows of {rule} in {self._name}")
        return self.rows(rule)


def event(up: House, kind: str, *boxes: str, **settings: object) -> None:
    """An event at each of the Boxes, at the same time: over the socket of `sim event`."""
    for box in boxes:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(up.data_dir / "ports" / "control"))
            control.sendall(
                json.dumps({"do": "event", "kind": kind, "box": box, **settings}).encode() + b"\n"
            )
            answer = json.loads(control.makefile().readline())
        assert answer["ok"], answer


def test_the_page_has_ten_rules() -> None:
    """Each is a statement that the engine takes, over the streams of the page."""
    assert len(RULES) == 10
    streams = [f"CREATE STREAM {name} {definition}" for name, definition in STREAMS.items()]
    cases = [{"name": name, "stream_ddl": streams, "sql": sql, "input": []} for name, sql in RULES.items()]
    assert json.loads(try_text(json.dumps(cases))) == [{"name": name, "emissions": []} for name in RULES]


@pytest.mark.slow
def test_ten_rules_hold_against_the_sim(tmp_path: Path) -> None:
    """It takes a minute; a rule over the Boxes of a running `up` is always played (test_up_rules.py)."""
    port, config = free_port(), tmp_path / "up.toml"
    config.write_text(
        '[gateway.uplink]\nsend = ["rms", "f", "thd", "trans", "h5", "rocof"]\n'
        f'[gateway.rules]\nenabled = true\nendpoint = "127.0.0.1:{port}"\n'
    )
    with house(tmp_path / "D", "--sim", "3", "--config", str(config)) as up:
        up.wait_for("everything runs", 90)
        makai = Place("makai", f"http://127.0.0.1:{PORTS['rules'] + up.offset}", up.data_dir)
        gateway = Place("gateway", f"http://127.0.0.1:{port}", up.data_dir)
        places = (makai, gateway)
        sags_and_alarms(up, places)
        three_at_once(up, places)
        the_others(up, places)
        silence(up, places)
        for place in places:
            status = json.loads(place.tool("show", "waveform", "--status", "--json").stdout)
            sink = {
                key.split("_")[-2] + "_total": value
                for key, value in status.items()
                if "request_waveform" in key
            }
            assert sink["exceptions_total"] == 0 and sink["out_total"] >= 1, status


def sags_and_alarms(up: House, places: tuple[Place, ...]) -> None:
    """Sags of 500 ms at Box 1, 2, 1 and all three: each once in `sag`, and six alarms."""
    for place in places:
        until(lambda place=place: listens(place), 60, "the rules that listen")
    log = up.data_dir / "log" / "gateway.log"  # a gateway withholds crossings until its broker acknowledges
    until(lambda: log.read_text().count("uplink.acknowledges") >= len(BOXES), 60, "acknowledgements")
    seen = 0
    for boxes, pause in ((("1",), 3), (("2",), 9), (("1",), 12), (BOXES, 0)):
        event(up, "sag", *boxes, depth=0.5, cycles=30)
        seen += len(boxes)
        for place in places:
            place.want("sag", seen)
        last = max(row["start_ms"] for row in places[0].rows("sag"))
        if pause:
            until(lambda last=last, pause=pause: newest(places[0]) >= last + 1000 * pause, 60, "the next sag")
    for place in places:
        sags = place.rows("sag")
        assert Counter(row["box"] for row in sags) == {"1": 3, "2": 2, "3": 1}, sags
        for row in sags:
            assert abs(row["duration_ms"] - 500) <= CYCLE_MS, row
            assert 50 < row["residual_v"] < 70, row
        assert Counter(row["box"] for row in place.want("alarm", 6)) == {"1": 3, "2": 2, "3": 1}
        assert len(place.want("waveform", 6)) == 6


def three_at_once(up: House, places: tuple[Place, ...]) -> None:
    """One row for each time that all three sag; a busy machine may pass them on more than 2 s apart."""
    times = 1
    while not all(place.rows("three") for place in places) and times < 5:
        event(up, "sag", *BOXES, depth=0.5, cycles=30)
        times += 1
        for place in places:
            place.want("sag", 6 + 3 * (times - 1))
    for place in places:
        found = place.want("three", 1)
        assert all(row["boxes"] == 3 for row in found) and len(found) <= times, found


def listens(place: Place) -> bool:
    """Whether both streams of Boxes are connected: what came before is not heard."""
    status = json.loads(place.tool("show", "sag", "--status", "--json").stdout)
    return status.get("source_crossings_0_connection_status") == 1 and newest(place) > 0


def newest(place: Place) -> int:
    """When the engine got its newest window, Unix ms."""
    return int(
        json.loads(place.tool("show", "rocof", "--status", "--json").stdout)["source_boxes_0_last_invocation"]
    )


def the_others(up: House, places: tuple[Place, ...]) -> None:
    event(up, "frequency_deviation", "1", hz=1, cycles=60 * 14)
    event(up, "harmonics", "2", depth=0.15, cycles=60 * 4)
    for place in places:
        (row,) = place.want("frequency", 1)
        assert row["box"] == "1" and abs(row["f"] - 61) < 0.1
        assert {row["box"] for row in place.want("rocof", 1)} == {"1"}
        assert {row["box"] for row in place.want("harmonic", 1)} == {"2"}
        by_day = [row for row in place.want("thd", 6) if row["thd95"] is not None]
        assert {row["box"] for row in by_day} == {*BOXES} and all(
            row["day_ms"] % 10_000 == 0 for row in by_day
        )
        days = place.want("day", 6)
        assert {row["box"] for row in days} == {*BOXES}
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", row["day"]) for row in days)
        assert all(row["least_v"] <= row["most_v"] for row in days)
        for box in BOXES:  # what a busy machine passes on late counts in the next day
            own = [row["windows"] for row in days if row["box"] == box]
            assert sum(own) <= 51 * len(own), own


def silence(up: House, places: tuple[Place, ...]) -> None:
    event(up, "supply_lost", *BOXES, seconds=12)
    for place in places:
        assert {row["box"] for row in place.want("silent", 3)} == {*BOXES}


def test_a_day_ends_at_midnight() -> None:
    day_ms = 86_400_000
    case = {
        "stream_ddl": 'CREATE STREAM boxes () WITH (DATASOURCE="x")',
        "sql": RULES["thd"],
        "input": [
            {
                "stream": "boxes",
                "ts": start + n * 60_000,
                "data": {"box": "1", "kind": "window", "thd": n / 100},
            }
            for start in (20_000 * day_ms, 20_001 * day_ms)
            for n in range(101)
        ],
        "options": {"end_ms": 3 * day_ms},
    }
    rows = [row for each in json.loads(try_text(json.dumps(case)))["emissions"] for row in each]
    assert len(rows) == 2 and rows[1]["day_ms"] - rows[0]["day_ms"] == day_ms
    assert [row["thd95"] for row in rows] == [pytest.approx(0.95)] * 2
