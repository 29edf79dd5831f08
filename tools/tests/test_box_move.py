"""`opq-tools box move` between two real clouds, in the middle of sending: nothing lost, nothing twice."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from free_ports import free_offset
from house_under_test import House, until

from opq_cloud.makai.measurements.trends import trend_of
from opq_cloud.store import BoxRecord, CloudStore, LocationRecord, open_store
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_gateway.uplink.connection import place_to_text
from opq_proto.keys.key_files import KeyFolder
from opq_proto.messages import (
    TREND_LEVELS,
    Disturbance,
    Interval,
    Measurement,
    Metric,
    TimeSource,
    Trend,
    Trigger,
    Waveform,
)
from opq_proto.wire.command_client import BoxRefusedError, CommandClient
from opq_proto.wire.frames import UPLINK_PLUGIN
from opq_tools.boxes.box.history import copy_box, copy_history, not_copied
from opq_tools.boxes.box.move import place_of
from opq_tools.shared.service_address import service_address

START_NS = 1_795_824_000 * 10**9
"""A midnight."""
PROGRAM = [sys.executable, "-m", "opq_tools.cli"]


@contextlib.contextmanager
def cloud(folder: Path, offset: int) -> Iterator[subprocess.Popen[bytes]]:
    """Its own cloud, without Boxes."""
    keys = ["keygen", "--out", str(folder / "curve"), "--server", "--administrator"]
    subprocess.run([*PROGRAM, *keys], check=True)
    where = ["--data-dir", str(folder), "--port-offset", str(offset)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "opq_cloud", "all", *where], stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(240) == 0, (folder / "log").read_text()[-3000:]


def numbers(store: CloudStore, box_id: str) -> list[int]:
    """The sequence numbers of all stored rows, crossings and intervals too; one that is there twice is twice
    in it."""
    rows = store.measurements(box_id, 0, 2**62)
    found = [each.sequence for each in rows if each.sequence is not None]
    return sorted([*found, *store.intervals.sequences(box_id, 0, 2**62)])


def moved(words: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_box_moves_despite_a_killed_command(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    offset = free_offset()
    house = House(here, "--sim", "2")
    try:
        house.wait_for("the page is up")
        with cloud(there, offset):
            old, new = open_store(None, here), open_store(None, there)
            until(lambda: len(numbers(old, "1")) > 8, 60, "Measurements of Box 1")
            dip = ["sim", "event", "sag", "--box", "1", "--depth", "0.6", "--cycles", "6"]
            subprocess.run([*PROGRAM, *dip, "--data-dir", str(here)], check=True, stdout=subprocess.DEVNULL)
            until(lambda: any(each.finished for each in old.events()), 60, "an event here")
            addresses = (
                service_address(f"{name}_backend", house.offset, here) for name in ("command", "response")
            )
            place = place_to_text(place_of(KeyFolder(there / "curve"), "127.0.0.1", offset))
            with CommandClient(*addresses) as stranger, pytest.raises(BoxRefusedError, match="needs the"):
                stranger._send_order("1", UPLINK_PLUGIN, place, 20)
            words = ["box", "move", "1", "--to", str(there), "--to-port-offset", str(offset), "--json"]
            words += ["--data-dir", str(here), "--port-offset", str(house.offset)]
            first = subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True)
            assert first.stderr is not None and "copied" in first.stderr.readline()
            first.kill()  # before its gateway is asked, or while it changes over
            first.wait()
            done = moved(words)
            assert done.returncode == 0, done.stderr
            facts = json.loads(done.stdout)
            assert facts["measurements_here"] == facts["of_them_there"] <= facts["measurements_there"]
            moved_at = numbers(old, "1")[-1]
            until(lambda: numbers(new, "1")[-1] > moved_at + 8, 60, "Measurements of Box 1 there")
            left = numbers(old, "1")  # with those that were on their way
            os.kill(house.pid_of("opq_gateway"), signal.SIGKILL)  # the place is kept for its next start
            killed_at = numbers(new, "1")[-1]
            until(lambda: numbers(new, "1")[-1] > killed_at + 8, 90, "Measurements after a restart")
            stayed = len(numbers(old, "2"))
            until(lambda: len(numbers(old, "2")) > stayed + 3, 60, "Measurements of Box 2, which stays")
            arrived = numbers(new, "1")
            assert len(arrived) == len(set(arrived)), "a Measurement is there twice"
            assert numbers(old, "1") == left and set(left) <= set(arrived)
            before_kill = [each for each in arrived if each <= killed_at]
            assert before_kill == list(range(left[0], killed_at + 1)), "a Measurement is missing"
            (event,) = [each for each in new.events() if each.token.startswith(f"moved-{old.identity()}-")]
            assert event.boxes_received == ("1",)
            until(new.incidents, 60, "the other cloud's own incident")
            assert old.box("1").retired_ms and not (here / "curve/public_keys/opqbox1.key").exists()
            again = moved(words)
            assert again.returncode == 0, again.stderr
            assert len(numbers(new, "1")) == len(set(numbers(new, "1")))
            old.close(), new.close()
    finally:
        house.end()


def test_class_a_is_copied_and_merged(tmp_path: Path) -> None:
    """Intervals with their flicker, disturbances and numbers; an interval that both stores have is one."""
    old, new = (open_store(None, tmp_path / name) for name in ("old", "new"))
    length_ms, dip = 600_000, Disturbance("7", "dip", START_NS + 5, START_NS + 10**8, 100, 80.0)

    def sent(at: int, number: int, coverage: float | None, values: dict[str, Any]) -> Measurement:
        begins_ns = START_NS + at * length_ms * 10**6
        ends_ns = begins_ns + length_ms * 10**6
        interval = Interval(length_ms, at == 2, coverage, values)
        return Measurement("7", ends_ns // 10**6, {}, begins_ns, ends_ns, sequence=number, interval=interval)

    rows = [
        each
        for at in range(144)  # a day, of which a block is made
        for each in (
            sent(
                at, 10 + 2 * at, 0.5 + at / 512, {"rms_v": 120.0 + at, "harmonics_v": (120.0, 3.0)[: 1 + at]}
            ),
            sent(at, 11 + 2 * at, None, {"pst": 0.5}),
        )
    ]
    ended = Measurement("7", 0, {}, dip.start_ns, dip.end_ns, sequence=9, disturbance=dip)
    old.intervals.append([ended, *rows])
    old.intervals.settle(2**60)
    new.intervals.append(rows[200:])
    for _ in range(2):
        copy_history("7", old, new, pytest.fail)
        new.intervals.settle(2**60)
    span = "7", length_ms, 0, 2**62
    want, found = old.intervals.read(*span), new.intervals.read(*span)
    assert found.values.keys() == want.values.keys() and len(found.start_ns) == 144
    for name, value in want.values.items():
        np.testing.assert_array_equal(found.values[name], value, name)
    np.testing.assert_array_equal(found.coverage, want.coverage)
    np.testing.assert_array_equal(found.sequences, want.sequences)
    assert found.flagged.tolist() == want.flagged.tolist()
    assert new.intervals.disturbances("7", 0, 2**62) == [dip]
    assert numbers(new, "7") == numbers(old, "7") == list(range(9, 298))
    old.close(), new.close()


def test_intervals_of_its_site_move_too(tmp_path: Path) -> None:
    """Of those that another Box sent, too; none of another site."""
    old, new = (open_store(None, tmp_path / name) for name in ("old", "new"))
    length_ms = 600_000
    for box_id, site in (("7", "mill"), ("8", "mill"), ("9", "dairy")):
        old.put_box(BoxRecord(box_id, f"socket {box_id}", site=site))
    old.intervals.append(
        Measurement(
            box_id,
            0,
            {},
            START_NS + at * length_ms * 10**6,
            START_NS + (at + 1) * length_ms * 10**6,
            sequence=10 + at,
            interval=Interval(length_ms, False, 1.0, {"u2_ratio": 0.01 * at}, site),
        )
        for at in range(1, 4)
        for box_id, site in (("78"[at % 2], "mill"), ("9", "dairy"))
    )
    copy_box("7", old, new)
    for _ in range(2):
        copy_history("7", old, new, pytest.fail)
        new.intervals.settle(2**60)
    span = length_ms, 0, 2**62
    want, found = old.intervals.read("mill", *span), new.intervals.read("mill", *span)
    assert found.start_ns.tolist() == want.start_ns.tolist() and len(found.start_ns) == 3
    np.testing.assert_array_equal(found.values["u2_ratio"], want.values["u2_ratio"])
    assert new.intervals.box_ids() == ["mill"] and numbers(new, "7") == numbers(old, "7") == [12]
    old.close(), new.close()


def test_a_site_moves_by_the_boxs_span(tmp_path: Path) -> None:
    """An interval that the Box's time at the site only touches is of it."""
    old, new = (open_store(None, tmp_path / name) for name in ("old", "new"))
    length_ms = 600_000
    for name in ("quay", "hill"):
        old.put_location(LocationRecord(name, 21.0, -157.0, f"the {name}"))
    old.put_box(BoxRecord("7", "socket 7", site="dairy", location="quay"))
    old.put_box(BoxRecord("7", "", site="mill", location="hill"), START_NS // 10**6 + 2 * length_ms + 1)
    old.put_box(BoxRecord("7", "", site="dairy"), START_NS // 10**6 + 5 * length_ms)
    old.intervals.append(
        Measurement(
            "8",
            0,
            {},
            START_NS + at * length_ms * 10**6,
            START_NS + (at + 1) * length_ms * 10**6,
            sequence=10 + at,
            interval=Interval(length_ms, False, 1.0, {"u2_ratio": 0.01 * at}, "mill"),
        )
        for at in range(8)
    )
    copy_box("7", old, new)
    assert new.locations() == old.locations(), "where it was goes with it"
    copy_history("7", old, new, pytest.fail)
    found = new.intervals.read("mill", length_ms, 0, 2**62)
    assert [(each - START_NS) // length_ms // 10**6 for each in found.start_ns.tolist()] == [2, 3, 4]
    assert new.intervals.box_ids() == ["mill"] and numbers(new, "8") == []
    old.close(), new.close()


def test_measurements_of_any_time_move(tmp_path: Path) -> None:
    """Those of a clock that was not set or ran ahead, sealed or not; a second copy reads on."""
    old, new = EmbeddedStore(tmp_path / "old.db"), EmbeddedStore(tmp_path / "new.db")
    times_ms = (5_000, START_NS // 10**6, 4 * 10**12)
    rows = [Measurement("7", at, {"f": Metric(50, 50, 50)}, sequence=k) for k, at in enumerate(times_ms)]
    plain = [Measurement("7", at + 1, {"f": Metric(50, 50, 50)}) for at in times_ms]
    other = Measurement("8", times_ms[1], {"f": Metric(50, 50, 50)}, sequence=1)
    old.append_measurements([*rows[:2], *plain[:2], other])
    old.seal()
    first = copy_history("7", old, new, pytest.fail)
    old.append_measurements([rows[2], plain[2]])
    again = copy_history("7", old, new, pytest.fail, after=first.place)
    assert (first.measurements, again.measurements) == (4, 2)
    assert new.measurements("7", 0, 2**62) == old.measurements("7", 0, 2**62)
    assert new.measurements("8", 0, 2**62) == []
    old.close(), new.close()


def test_trends_of_each_level_move(tmp_path: Path) -> None:
    """Also those whose minutes became hours, with their histograms; they stay after a roll-up."""
    old, new = (open_store(None, tmp_path / name) for name in ("old", "new"))
    now_ms = time.time_ns() // 1_000_000
    hour_ms = now_ms // 3_600_000 * 3_600_000
    for days in (500, 200, 1):
        first_ms = hour_ms - days * 86_400_000
        old.put_trends(
            Trend("7", first_ms + at * 60_000, {"rms": (1.0, 240.0, 120.0 + at)}, covered_ms=60_000)
            for at in range(60)
        )
        while old.roll_up(now_ms):
            pass
        while old.expire(now_ms // 1000):
            pass

    def rows(store: CloudStore) -> dict[str, list[Trend]]:
        return {name: store.trend_rows("7", 0, now_ms, each) for name, each in TREND_LEVELS.items()}

    want = rows(old)
    assert [len(each) for each in want.values()] == [2 + 60, 12, 3, 3], "minutes of 200 days ago are an hour"
    for _ in range(2):
        copy_history("7", old, new, pytest.fail)
        while new.roll_up(now_ms):
            pass
        assert rows(new) == want
    old.close(), new.close()


def test_history_is_copied_once_and_shared_minutes_merge(tmp_path: Path) -> None:
    """A minute that both stores have is made of both."""
    old, new = (open_store(None, tmp_path / name) for name in ("old", "new"))
    minute_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 - 600_000
    rows = [
        Measurement("7", minute_ms + 1000 * second, {"rms": Metric(v, v, v)}, sequence=100 + second)
        for second in range(1, 61)
        for v in [100.0 + second]
    ]
    old.append_measurements(rows[:40])  # the last ten were under way to the old cloud when its gateway left
    new.append_measurements(rows[30:])
    old.put_trends([trend_of("7", minute_ms, rows[:40])[0]])
    new.put_trends([trend_of("7", minute_ms, rows[30:])[0]])
    trigger = Trigger("t", minute_ms * 10**6, minute_ms * 10**6 + 10**9, ("7", "8"), "7", "rms 90 V")
    number = old.open_event(trigger, "")
    for box_id in ("7", "8"):
        counts = np.arange(1200, dtype=np.int16)
        wave = Waveform(box_id, trigger.start_ns, 1000, TimeSource.GPS, 1_200_000, 0.01, 0, counts, ())
        old.put_waveform(number, wave)
    old.finish_event(number)
    assert not_copied("7", old, new) == list(range(101, 131))
    first = copy_history("7", old, new, pytest.fail)
    assert (first.measurements, first.minutes, first.events) == (30, 0, 1)
    assert numbers(new, "7") == list(range(101, 161)) and not_copied("7", old, new) == []
    (minute,) = new.trends("7", 0, 2**62)
    assert minute.metrics["rms"][:2] == (101.0, 159.0)  # the sixtieth second begins the next minute
    assert minute.metrics["rms"][2] == pytest.approx(130.0)
    (event,) = new.events()
    assert (event.boxes_triggered, event.because, event.finished) == (("7",), "rms 90 V", True)
    moved_wave = new.waveform(event.event_id, "7")
    assert moved_wave is not None and list(moved_wave.counts) == list(range(1200))
    again = copy_history("7", old, new, pytest.fail, after=first.place)
    assert (again.measurements, again.minutes, again.events) == (0, 0, 0) and len(new.events()) == 1
    old.close(), new.close()
