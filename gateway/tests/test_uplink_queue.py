"""The queue on real files: nothing that was committed is lost, no number comes twice, whatever ends it."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from full_disk import full_disk

from opq_gateway.counters import BoxCounters
from opq_gateway.uplink import queue as queue_room
from opq_gateway.uplink import queue_file
from opq_gateway.uplink.queue import HOLD_S, Queue
from opq_gateway.uplink.sequence_numbers import NUMBERS_PER_CHUNK, RESERVED_NUMBERS
from opq_proto.errors import READING_COMMIT, OtherFormError
from opq_proto.kit.sqlite_file import SqliteFile
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement, Metric

SECOND_NS = 10**9
T0_NS = 1_800_000_000 * SECOND_NS


def measurement(box_id: str, number: int, crossing: bool = False) -> Measurement:
    end_ns = T0_NS + (number + 1) * SECOND_NS
    rms = {"rms": Metric(119.0, 121.0, 120.0)}
    start_ns = end_ns - SECOND_NS
    return Measurement(box_id, end_ns // 10**6, rms, start_ns, end_ns, crossing=crossing)


class Bench:
    def __init__(self, folder: Path, hours: float = 168.0, most_bytes: int = 10**9) -> None:
        self.path, self._hours, self._most_bytes = folder / "queue.sqlite", hours, most_bytes
        self.counters = {"1": BoxCounters(), "10": BoxCounters()}
        self.now_s = 1000.0
        self.queue = self.made()

    def made(self, now_ms: int = 1000) -> Queue:
        return Queue(
            self.path, self.counters, self._hours, self._most_bytes, now_ms, monotonic_s=lambda: self.now_s
        )

    def put(self, box_id: str, *numbers: int) -> list[int | None]:
        return [q.sequence for q in self.queue.store([(box_id, measurement(box_id, n)) for n in numbers])]

    def held(self, box_id: str) -> list[int]:
        return [sequence for sequence, _ in self.queue.read(box_id, 0, 2**62, 10**6)]


def test_numbers_rise_by_one(tmp_path: Path) -> None:
    """For each Box, also after a clean end."""
    bench = Bench(tmp_path)
    assert bench.put("1", *range(150)) == list(range(1000, 1150))
    assert bench.put("10", 0) == [1000]
    bench.queue.close()
    bench.queue = bench.made(now_ms=5)
    assert bench.put("1", 150) == [1150] and bench.put("10", 1) == [1001]
    assert bench.held("1") == list(range(1000, 1151))
    assert bench.queue.last_end_ns("1") == T0_NS + 151 * SECOND_NS
    bench.queue.close()


def test_the_queue_returns_its_input(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.put("1", *range(10))
    assert bench.queue.held("1") == (1000, 1010)
    (sequence, body), *_ = bench.queue.read("1", 1003, 1005, 1)
    assert sequence == 1003 and measurement_from_wire(body) == measurement("1", 3)
    bench.queue.acknowledged("1", 1006)
    assert bench.queue.held("1") == (1007, 1010)
    bench.now_s += 1.0
    bench.queue.tick()
    assert bench.held("1") == [1007, 1008, 1009]
    bench.queue.acknowledged("1", 2**40)  # more than there is
    assert bench.queue.held("1") is None and bench.put("1", 10) == [1010]
    assert bench.queue.held("1") == (1010, 1011)
    bench.queue.close()


def test_a_crossing_moves_no_measuring_place(tmp_path: Path) -> None:
    """It has a number all the same."""
    bench = Bench(tmp_path)
    bench.put("1", 0)
    (queued,) = bench.queue.store([("1", measurement("1", 9, crossing=True))])
    assert queued.measurement.crossing and queued.sequence == 1001
    assert bench.queue.last_end_ns("1") == T0_NS + SECOND_NS and bench.queue.last_end_ns("10") is None
    bench.queue.close()


def test_measuring_continues_at_the_set_back_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.put("1", 4000, 3995)
    assert bench.queue.last_end_ns("1") == T0_NS + 4001 * SECOND_NS
    bench.put("1", 400)
    assert bench.queue.last_end_ns("1") == T0_NS + 401 * SECOND_NS
    bench.queue.close()


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_uplink_queue import Bench
bench = Bench(Path(sys.argv[1]))
for number in range(100_000):
    sequence, = bench.put("1", number)
    print(sequence, flush=True)
    if number % 7 == 6:
        bench.queue.acknowledged("1", sequence - 5)
"""


def test_after_kill_9_numbers_are_unique(tmp_path: Path) -> None:
    told: list[int] = []
    for life in range(3):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            told += [int(writer.stdout.readline()) for _ in range(30 + 17 * life)]
            os.kill(writer.pid, signal.SIGKILL)
            told += [int(line) for line in writer.stdout.read().splitlines() if line]
    assert told == sorted(set(told))
    bench = Bench(tmp_path)
    held = bench.held("1")
    assert bench.queue.held("1") == (held[0], bench.queue.next("1"))
    # what was told last is held, up to what was acknowledged before it, and one more may be
    newest = [n for n in told if n >= held[0]]
    assert [n for n in held if n <= told[-1]] == newest and len(held) - len(newest) <= 1
    (following,) = bench.put("1", 0)
    assert following is not None and max(held) < following <= max(held) + NUMBERS_PER_CHUNK + 1
    bench.queue.close()


def test_a_full_disks_rows_are_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = full_disk(monkeypatch)
    bench = Bench(tmp_path)
    bench.put("1", *range(40))
    full(True)
    numbers = []
    for number in range(40, 400):
        numbers += bench.put("1", number)
        bench.now_s += 0.2
        held_back = bench.queue.holds_back
        assert held_back == (bench.queue.problem != "" and bench.now_s - refused_s(bench) < HOLD_S)
    assert numbers == list(range(1040, 1400)) and not held_back
    assert "full" in bench.queue.problem and bench.counters["1"]["queue_failed"] == 1
    bench.queue.acknowledged("1", 1029)
    assert bench.queue.held("1") == (1030, 1400)
    full(False)
    bench.now_s += 3.0
    assert bench.put("1", 400) == [1400] and bench.queue.problem == ""
    bench.queue.close()
    bench.queue = bench.made()
    assert bench.held("1") == list(range(1030, 1401)) and bench.put("1", 401) == [1401]
    bench.queue.close()


def refused_s(bench: Bench) -> float:
    return bench.queue._disk.refused_s or 0.0


def test_a_killed_full_disk_reuses_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = full_disk(monkeypatch)
    bench = Bench(tmp_path)
    bench.put("1", 0)
    full(True)
    used = [n for number in range(1, 300) for n in bench.put("1", number)]
    assert used == list(range(1001, 1300))
    full(False)
    after = Bench(tmp_path)  # the first was killed: it closed nothing
    assert after.put("1", 0) == [1000 + NUMBERS_PER_CHUNK + RESERVED_NUMBERS]
    again = Bench(tmp_path)
    assert again.put("1", 0) == [
        1000 + NUMBERS_PER_CHUNK + RESERVED_NUMBERS + NUMBERS_PER_CHUNK
    ]  # from here on a kill skips a chunk
    for each in (bench, after, again):
        each.queue.close()


def test_an_unchangeable_disk_gives_reserved_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = full_disk(monkeypatch)
    bench = Bench(tmp_path)
    bench.put("1", 0)
    full(True)

    def read_only(self: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", read_only)
        used = [n for number in range(1, 100) for n in bench.put("1", number)]
    assert used == [*range(1001, 1064), *[None] * 36]
    assert bench.counters["1"]["sequences_failed"] == 36
    bench.queue.close()


def test_memory_is_bounded_while_the_disk_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_room, "MAX_UNSAVED", 10)
    full = full_disk(monkeypatch)
    bench = Bench(tmp_path)
    bench.put("1", 0)
    bench.put("10", 0)
    full(True)
    bench.put("1", *range(1, 61))  # more than a page
    bench.put("10", 1)
    assert bench.counters["1"]["measurements_overflow"] == 51
    assert bench.counters["10"]["measurements_overflow"] == 0
    full(False)
    bench.now_s += 3.0
    bench.queue.tick()
    assert bench.held("1") == [1000, *range(1052, 1061)] and bench.held("10") == [1000, 1001]
    bench.queue.close()


@pytest.mark.parametrize("content", [b"", b"\0\0", os.urandom(20_000), b"SQLite format 3\0" + b"x" * 9000])
def test_a_wrong_file_is_set_aside(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "queue.sqlite").write_bytes(content)
    bench = Bench(tmp_path)
    assert bench.put("1", 0) == [1000] and bench.queue.problem == ""
    asides = list(tmp_path.glob("queue.sqlite.broken1"))
    assert len(asides) == bench.counters["1"]["queue_broken"] and len(asides) >= (len(content) > 2)
    assert not asides or asides[0].read_bytes() == content
    bench.queue.close()
    bench.queue = bench.made()
    assert bench.held("1") == [1000]
    bench.queue.close()


@pytest.mark.parametrize("spared_bytes", [100, 4096, 4096 * 3])
def test_a_broken_file_is_set_aside(tmp_path: Path, spared_bytes: int) -> None:
    bench = Bench(tmp_path)
    bench.put("1", *range(2000))
    bench.queue.close()
    with bench.path.open("r+b") as file:
        file.seek(spared_bytes)
        file.write(os.urandom(bench.path.stat().st_size - spared_bytes))
    bench.queue = bench.made(now_ms=10_000)
    numbers: list[int | None] = []
    for number in range(2000, 2020):
        bench.queue.read("1", 0, 2**62, 5000)
        numbers += bench.put("1", number)
        bench.now_s += 1.0
    assert bench.counters["1"]["queue_broken"] >= 1 and bench.queue.problem == ""
    numbered = [n for n in numbers if n is not None]
    assert numbered == sorted(set(numbered)) and numbered[0] >= 3000 and len(numbered) >= 18
    bench.queue.close()
    bench.queue = bench.made()
    assert bench.held("1")[-1] == numbered[-1]
    bench.queue.close()


def test_the_oldest_go_first_by_age(tmp_path: Path) -> None:
    bench = Bench(tmp_path, hours=100 / 3600)
    bench.put("1", *range(150))
    bench.put("10", 0)
    bench.now_s += 11.0
    bench.queue.tick()  # by the Box's own newest, not by the machine's clock
    assert bench.held("1") == list(range(1049, 1150)) and bench.queue.held("1") == (1049, 1150)
    assert bench.counters["1"]["measurements_expired"] == 49
    assert bench.held("10") == [1000]
    bench.queue.close()


def test_over_the_byte_limit_each_box_loses(tmp_path: Path) -> None:
    bench = Bench(tmp_path, most_bytes=100_000)
    for number in range(0, 3000, 100):
        bench.put("1", *range(number, number + 100))
    bench.put("10", 0)
    for _ in range(60):
        bench.now_s += 11.0
        bench.queue.tick()
    held = bench.held("1")
    assert 200 < len(held) < 2500 and held[-1] == 3999
    assert bench.counters["1"]["measurements_expired"] == 3000 - len(held)
    bench.queue.close()


def test_any_sqlite_opens_the_queue(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.put("1", *range(5))
    found = sqlite3.connect(bench.path).execute("SELECT count(*) FROM measurements").fetchone()
    assert found == (5,)
    bench.queue.close()


def test_a_power_cut_reuses_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path / "whole")
    log = bench.path.with_name("queue.sqlite-wal")
    synced = [0]
    reserve = queue_file.QueueFile.reserve

    def noted(file: queue_file.QueueFile, numbers: dict[int, int]) -> bool:
        done = reserve(file, numbers)
        synced.append(log.stat().st_size)  # this much a power cut leaves: synchronous=FULL
        return done

    monkeypatch.setattr(queue_file.QueueFile, "reserve", noted)
    for number in range(0, 100, 5):
        bench.put("1", *range(number, number + 5))
    whole, written = bench.path.read_bytes(), log.read_bytes()
    assert len(synced) == 3 and synced[-1] < len(written)
    for cut in range(synced[-1], len(written) + 1, 1009):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "queue.sqlite").write_bytes(whole)
        (folder / "queue.sqlite-wal").write_bytes(written[:cut] + os.urandom(100))
        (folder / "queue.sqlite.numbers-reserved").touch()
        after = Bench(folder)
        held = after.held("1")
        assert held == list(range(1000, 1000 + len(held))) and len(held) % 5 == 0
        assert after.put("1", 0) == [1000 + 2 * NUMBERS_PER_CHUNK] and after.queue.problem == ""
        assert after.counters["1"]["queue_broken"] == 0
        after.queue.close()
    bench.queue.close()


def test_a_months_clock_step_ages_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, hours=100 / 3600)
    year = 365 * 86_400
    bench.put("1", *range(20))
    for step in (year, -2 * year, 3 * year):  # no clock until NTP; a GPS whose weeks rolled over; and back
        bench.put("1", *range(step, step + 20))
        bench.now_s += 11.0
        bench.queue.tick()
        assert bench.held("1")[0] == 1000
        bench.queue.close()
        bench.queue = bench.made()
    assert bench.counters["1"]["measurements_expired"] == 0 and len(bench.held("1")) == 80
    bench.put("1", *range(3 * year + 20, 3 * year + 120))
    bench.now_s += 11.0
    bench.queue.tick()
    assert 100 <= len(bench.held("1")) <= 102  # age goes on
    bench.queue.close()


def test_a_queue_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    SqliteFile(path, ("CREATE TABLE boxes (box INTEGER PRIMARY KEY)",), application_id=0).close()
    with pytest.raises(OtherFormError, match=f"queue.sqlite: .* commit {READING_COMMIT} reads"):
        Queue(path, {"1": BoxCounters()})
    assert [each.name for each in tmp_path.iterdir()] == [path.name], "it is not set aside as a broken one is"
