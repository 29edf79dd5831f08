"""The ledger: rows come back as they were written, whatever happened to the process or the disk."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from opq_gateway.commands.half_cycle_command import read_half_cycles
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.local.health import health
from opq_gateway.measuring import ledger as ledger_module
from opq_gateway.measuring import lost_rows
from opq_gateway.measuring.feed import KINDS, Values
from opq_gateway.measuring.ledger import MAX_WAITING, Ledger, LedgerWriter
from opq_gateway.measuring.ledger_rows import LedgerRows
from opq_gateway.measuring.lost_rows import LostRows
from opq_proto.kit.whole_file import FileNotWrittenError, open_private
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, TimeSource
from opq_proto.wire.half_cycles import half_cycles_from_wire, half_cycles_to_wire

T0_NS = 1_700_000_000_000_000_000
WINDOW_NS = 200_000_000
HOUR_NS = 3600 * 10**9


def no_space(*_: object) -> int:
    raise FileNotWrittenError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def row(number: int, kind: str = "window", at_ns: int = T0_NS, length_ns: int = WINDOW_NS) -> Values:
    start_ns = at_ns + number * length_ns
    told = {"rms_v": 120.0 + number, "harmonics_v": (120.0, 0.5, float(number % 7))}
    return Values("1", kind, start_ns, start_ns + length_ns, 1000, TimeSource.GPS, number % 3 == 0, told)


def test_rows_come_back_by_kind_and_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "1", 24.0, 30.0)
    rows = [row(number) for number in range(50)]
    for number, each in enumerate(rows):
        ledger.append(each)
        if number % 5 == 4:
            ledger.append(row(number // 15, "3s", length_ns=3 * 10**9))
            ledger.flush()
    reader = Ledger(tmp_path, "1", 24.0, 30.0)
    assert list(reader.read("window", 0, 2**62)) == rows
    assert list(reader.read("window", rows[7].start_ns + 1, rows[9].end_ns)) == rows[7:10]
    assert len(list(reader.read("3s", 0, 2**62))) == 10 and not list(reader.read("2h", 0, 2**62))
    assert ledger.newest_ns() == rows[-1].end_ns and ledger.newest_ns("10min") is None
    with pytest.raises(ValueError, match="tuple"):
        list(reader.read("year", 0, 1))


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 3000), flip=st.integers(0, 3000))
def test_a_torn_file_gives_its_whole_part(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    ledger = Ledger(folder, "1", 24.0, 30.0)
    rows = [row(number) for number in range(20)]
    for each in rows:
        ledger.append(each)
        ledger.flush()
    [path] = folder.glob("*.led")
    data = bytearray(path.read_bytes())
    data[flip % len(data)] ^= 0x40
    path.write_bytes(bytes(data[: len(data) - cut % len(data)]))
    found = list(Ledger(folder, "1", 24.0, 30.0).read("window", 0, 2**62))
    assert found == rows[: len(found)]
    later = Ledger(folder, "1", 24.0, 30.0)  # and goes on in a new file
    later.append(row(30))
    later.flush()
    assert list(later.read("window", row(30).start_ns, 2**62)) == [row(30)]


def test_kill_9_costs_no_flushed_row(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_measuring_ledger import Ledger, row\n"
        "ledger = Ledger(Path(sys.argv[1]), '1', 24.0, 30.0)\n"
        "for number in range(10**6):\n"
        "    ledger.append(row(number)); ledger.flush(); print(number, flush=True)\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, str(tmp_path), here]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        until = time.monotonic() + 240
        last = -1
        while last < 100:
            last = int(process.stdout.readline() or -1)
            assert time.monotonic() < until
        os.kill(process.pid, signal.SIGKILL)
        last = max([last, *(int(line) for line in process.stdout if line.strip())])
    found = list(Ledger(tmp_path, "1", 24.0, 30.0).read("window", 0, 2**62))
    assert len(found) >= last + 1 and found == [row(number) for number in range(len(found))]


def test_expired_files_are_deleted_by_content_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "1", 3.0, 30.0)
    for hour in range(10):
        ledger.append(row(0, at_ns=T0_NS + hour * HOUR_NS))
        ledger.flush()
    kept = [each.start_ns for each in ledger.read("window", 0, 2**62)]
    assert kept == [T0_NS + hour * HOUR_NS for hour in range(5, 10)]  # three, those begun and to be ended
    ledger.append(row(0, at_ns=T0_NS + 10**18))  # the clock was set by thirty years
    ledger.flush()
    assert len(list(ledger.read("window", 0, 2**62))) >= 4


def test_windows_that_are_not_kept_are_not_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "1", 0.0, 30.0)
    for kind in KINDS:
        ledger.append(row(0, kind))
    ledger.flush()
    assert [len(list(ledger.read(kind, 0, 2**62))) for kind in KINDS] == [0] + [1] * (len(KINDS) - 1)


def test_a_full_disk_is_reported_and_retried(tmp_path: Path) -> None:
    folder = tmp_path / "ledger"
    ledger = Ledger(folder, "1", 24.0, 30.0)
    shutil.rmtree(folder)
    ledger.append(row(0))
    with pytest.raises(OSError, match="ledger"):
        ledger.flush()
    folder.mkdir()
    ledger.append(row(1))
    ledger.flush()
    assert list(ledger.read("window", 0, 2**62)) == [row(0), row(1)]


def test_a_stalled_disk_delays_no_other(tmp_path: Path) -> None:
    pipe = tmp_path / "ledger" / f"w-{T0_NS:019d}.led"
    ledger, counters, writer = Ledger(pipe.parent, "1", 24.0, 30.0), BoxCounters(), LedgerWriter()
    writer.add(counters, ledger, BoxStatus("1", 10))
    ledger.append(row(0))
    writer.write()
    pipe.unlink()
    os.mkfifo(pipe)  # opening it for writing waits for a reader: a disk that does not answer
    ledger.append(row(1))
    thread = threading.Thread(target=writer.write, daemon=True)
    thread.start()
    while len(ledger._waiting):  # until the thread has row 1 in hand
        time.sleep(0.001)
    for number in range(2, MAX_WAITING + 7):
        ledger.append(row(number))
    assert thread.is_alive() and ledger.dropped == 5
    with pipe.open("rb") as reader:
        thread.join(240)
        assert not thread.is_alive() and len(reader.read()) > 0
    pipe.unlink()
    writer.write()
    assert counters["ledger_dropped"] == ledger.dropped
    kept = [each.start_ns for each in ledger.read("window", 0, 2**62)]
    assert kept == [row(number).start_ns for number in range(MAX_WAITING + 7)][-MAX_WAITING:]


def test_a_full_disk_makes_the_box_ill(tmp_path: Path) -> None:
    """Until all is written; nothing is lost."""
    writer, counters = LedgerWriter(), BoxCounters()
    status = BoxStatus("1", 10, serial_open=True, sample_monotonic_s=0.0, connected=True)
    of_box, of_group = (Ledger(tmp_path / name, "1", 24.0, 30.0) for name in ("box", "group"))
    for ledger in (of_box, of_group):
        writer.add(counters, ledger, status)
    full = tmp_path / "box" / f"w-{T0_NS:019d}.led"
    of_box.append(row(0))
    writer.write()
    assert status.problem(1.0) is None
    full.unlink()
    full.symlink_to("/dev/full")
    of_box.append(row(1))
    of_group.append(row(1))
    for _ in range(2):  # a turn without rows shows nothing about the disk
        writer.write()
        words = "No space left on device; 1 rows wait in memory"
        assert status.problem(1.0) == f"measured values are not stored: {words}"
        part = health({"1": status}, 1.0, 1e9)
        assert part["ok"] is False
    assert counters["ledger_failed"] == 2
    full.unlink()
    of_box.append(row(2))
    writer.write()
    assert status.problem(1.0) is None and "note" not in health({"1": status}, 1.0, 1e9)["subcomponents"][0]
    assert list(of_box.read("window", 0, 2**62)) == [row(1), row(2)]


@pytest.mark.parametrize("kind", ["3s", "10s", "10min", "2h"])
def test_a_full_disk_loses_no_interval(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is written in the end, also where its file was torn; what is beyond the room is named."""
    monkeypatch.setattr(ledger_module, "MAX_REFUSED", 50)
    writer, counters = LedgerWriter(), BoxCounters()
    status = BoxStatus("1", 10, serial_open=True, sample_monotonic_s=0.0, connected=True)
    ledger = Ledger(tmp_path, "1", 24.0, 3000.0)
    writer.add(counters, ledger, status)
    lengths_ns = {"3s": 3, "10s": 10, "10min": 600, "2h": 7200}
    rows = [row(number, kind, length_ns=lengths_ns[kind] * 10**9) for number in range(130)]
    real = os.write
    room = [1]

    def full(fd: int, data: bytes) -> int:
        if room[0]:  # a few bytes fit
            room[0] = 0
            return real(fd, data[:7])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    for each in rows[:40]:
        ledger.append(each)
        writer.write()
    assert "40 rows wait in memory" in str(status.problem(1.0))
    monkeypatch.setattr(os, "write", real)
    writer.write()
    assert list(ledger.read(kind, 0, 2**62)) == rows[:40] and status.problem(1.0) is None
    assert status.ledger_lost == "" and counters["ledger_dropped"] == 0
    monkeypatch.setattr(os, "write", full)
    for each in rows[40:]:  # more than there is room for
        ledger.append(each)
    writer.write()
    monkeypatch.setattr(os, "write", real)
    writer.write()
    assert list(ledger.read(kind, 0, 2**62)) == rows[:40] + rows[80:]
    assert counters["ledger_dropped"] == 40
    (lost,) = Ledger(tmp_path, "1", 24.0, 3000.0).lost.spans
    assert (lost.kind, lost.start_ns, lost.end_ns, lost.rows) == (
        kind,
        rows[40].start_ns,
        rows[79].end_ns,
        40,
    )
    (part,) = health({"1": status}, 1.0, 1e9)["subcomponents"]
    assert part["ok"] and part["note"].startswith("Box 1 lost 40 values of "), "after it too"
    (tmp_path / "lost").unlink()  # somebody has seen it
    writer.write()
    assert status.ledger_lost == ""
    monkeypatch.setattr(os, "write", full)
    ledger.append(row(200, kind, length_ns=lengths_ns[kind] * 10**9))
    stop = threading.Event()
    stop.set()
    with monkeypatch.context() as disk:
        disk.setattr(lost_rows, "write_whole_file", lambda *_: full(-1, b""))
        writer.run(stop)  # it ends while the disk is full
    monkeypatch.setattr(os, "write", real)
    assert not (tmp_path / "lost").exists()
    again = Ledger(tmp_path, "1", 24.0, 3000.0).lost
    assert [each.rows for each in again.spans] == [1]
    again.store()
    assert (tmp_path / "lost").exists() and [each.rows for each in LostRows(tmp_path).spans] == [1]
    torn = b'{"kind": "3s", "start_ns": "x", "end_ns": 2, "rows": 1}\n[1]\n\xff\n{"kind": "3s", "sta'
    with (tmp_path / "lost").open("ab") as file:
        file.write(torn)
    assert [each.rows for each in LostRows(tmp_path).spans] == [1], "what a person broke hides no other"
    again.forget()
    assert not LostRows(tmp_path).spans


REFUSALS: dict[str, tuple[dict[str, int], int]] = {
    "no room": ({"write": errno.ENOSPC}, 0),
    "no quota": ({"write": errno.EDQUOT}, 0),
    "a file too large": ({"write": errno.EFBIG}, 0),
    "a bad block": ({"write": errno.EIO}, 0),
    "mounted again for reading": ({"open": errno.EROFS}, 0),
    "no room for a name": ({"open": errno.ENOSPC}, 0),
    "a disk that is gone": ({"open": errno.ENODEV}, 0),
    "room for some bytes": ({}, 7),
    "room for no byte": ({}, -1),
    "some bytes that stay": ({"ftruncate": errno.ENOSPC}, 7),
    "a quota that a server names late": ({"close": errno.EDQUOT}, 0),
}
"""How a disk refuses -> the calls that fail, with their errors; how many bytes are taken (0: all; -1: none).
"""


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("from_start", [False, True])
def test_no_full_disk_loses_a_row(
    tmp_path: Path, refusal: str, from_start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, rows = Ledger(tmp_path, "1", 24.0, 30.0), [row(number) for number in range(5)]
    if not from_start:
        ledger.append(rows[0])
        ledger.flush()
    (errors, most), real_write, real_close = REFUSALS[refusal], os.write, os.close

    def fails(call: str) -> None:
        if call in errors:
            raise OSError(errors[call], os.strerror(errors[call]))

    def write(fd: int, data: bytes) -> int:
        fails("write")
        return real_write(fd, data[: {0: None, -1: 0}.get(most, most)])

    def close(fd: int) -> None:
        if "close" in errors and Path(f"/proc/self/fd/{fd}").resolve().suffix == ".led":
            truncate(fd, os.fstat(fd).st_size - 3)  # the server has not all of it
            real_close(fd)
            fails("close")
        real_close(fd)

    def opened(path: Path, flags: int) -> int:
        fails("open")
        return open_private(path, flags)

    truncate = os.ftruncate
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", write)
        disk.setattr(os, "close", close)
        disk.setattr(ledger_module, "open_private", opened)
        if "ftruncate" in errors:
            disk.setattr(os, "ftruncate", lambda *_: fails("ftruncate"))
        for each in rows[not from_start : 4]:
            ledger.append(each)
            with pytest.raises(OSError, match=r"\w"):
                ledger.flush()
    assert ledger.refused_rows == (4 if from_start else 3)
    ledger.append(rows[4])
    ledger.flush()
    assert ledger.refused_rows == 0
    assert list(Ledger(tmp_path, "1", 24.0, 30.0).read("window", 0, 2**62)) == rows


@pytest.mark.parametrize("late", ["fsync", "replace"])
def test_a_disk_that_refuses_late_keeps_the_loss(
    tmp_path: Path, late: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = LostRows(tmp_path)
    lost.reserve()
    lost.add([row(0, "10min")])
    with monkeypatch.context() as disk:
        disk.setattr(os if late == "fsync" else Path, late, no_space)
        lost.store()
    assert [path.name for path in tmp_path.iterdir()] == ["lost.room"]
    assert LostRows(tmp_path).spans == lost.spans


def test_a_written_loss_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk took the file of the first day, and not that of the next one."""
    ledger = Ledger(tmp_path, "1", 24.0, 3000.0)
    days = [row(day, "2h", length_ns=86_400 * 10**9) for day in (0, 2, 4)]
    for day in days:
        ledger.lost.add([day])
    real, calls = os.write, iter((True, False))
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", lambda *given: real(*given) if next(calls) else no_space())
        with pytest.raises(OSError, match="No space"):
            ledger.flush()
    assert ledger.flush() and not ledger.flush()
    assert [each.start_ns for each in ledger.read("lost", 0, 2**62)] == [day.start_ns for day in days]


def test_a_changed_loss_is_passed_over(tmp_path: Path) -> None:
    """What no ledger wrote into the file of lost rows: it is counted and said."""
    lines = [
        {"kind": kind, "start_ns": start, "end_ns": 5, "rows": rows}
        for kind, start, rows in (
            ("3s", 1, 7),
            ("year", 1, 7),
            ("lost", 1, 7),
            ("3s", 1, 0),
            ("3s", 1, -1),
            ("3s", 1, 2**53 + 1),
            ("3s", float("inf"), 7),
        )
    ]
    (tmp_path / "lost").write_text("\n".join(map(json.dumps, lines)))
    ledger, writer = Ledger(tmp_path, "1", 24.0, 3000.0), LedgerWriter()
    with capture_logs() as told:
        writer.add(BoxCounters(), ledger, BoxStatus("1", 10))
    assert [(each["event"], each["lines"]) for each in told] == [("ledger.lost_unreadable", 6)]
    writer.write()
    (known,) = ledger.read("lost", 0, 2**62)
    assert known.values == {"kind": float(KINDS.index("3s")), "rows": 7.0}


def test_rows_of_days_are_found_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that waited for a disk that was full for days."""
    ledger = Ledger(tmp_path, "1", 24.0, 3000.0)
    rows = [row(number, "10min", length_ns=600 * 10**9) for number in range(5 * 144)]
    for each in rows:
        ledger.append(each)
    with monkeypatch.context() as disk:
        disk.setattr(os, "write", no_space)
        with pytest.raises(OSError, match="No space"):
            ledger.flush()
    ledger.flush()
    reader = Ledger(tmp_path, "1", 24.0, 3000.0)
    for each in rows[::100]:
        assert list(reader.read("10min", each.start_ns, each.end_ns)) == [each]


def test_what_is_lost_goes_up_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of kinds that the cloud gets, as one span; also after an end on a full disk."""
    monkeypatch.setattr(ledger_module, "MAX_REFUSED", 10)
    monkeypatch.setattr(ledger_module, "MAX_WAITING", 10)
    rows = [row(number, kind, length_ns=10**9) for number in range(50) for kind in ("10min", "3s", "window")]
    places: dict[int, int] = {}

    def sent() -> list[tuple[str, int, int | None, int | None]]:
        found: list[tuple[str, int, int | None, int | None]] = []
        reader = LedgerRows(Ledger(tmp_path, "1", 24.0, 3000.0), frozenset({"10min", "dip"}), places)
        reader.read_ahead()
        while (record := reader.take()) is not None:
            places.update(record.places)
            lost = ((each, each.lost) for each in record.rows)
            found += [(loss.kind, loss.rows, each.start_ns, each.end_ns) for each, loss in lost if loss]
        return found

    def filled(part: slice, ends: bool = False) -> None:
        writer = LedgerWriter()
        ledger = Ledger(tmp_path, "1", 24.0, 3000.0)
        writer.add(BoxCounters(), ledger, BoxStatus("1", 10))
        with monkeypatch.context() as disk:
            disk.setattr(os, "write", no_space)
            disk.setattr(lost_rows, "write_whole_file", no_space)
            for each in rows[part]:
                ledger.append(each)
                writer.write()
            if ends:
                stop = threading.Event()
                stop.set()
                writer.run(stop)
        if not ends:
            writer.write()

    filled(slice(0, 60))
    (first, *_), last = rows[:1], rows[27]
    assert sent() == [("10min", 10, first.start_ns, last.end_ns)] and sent() == []
    filled(slice(60, 90), ends=True)
    assert sent() == [], "the disk is still full"
    filled(slice(90, 91))
    assert sent() == [("10min", 20, first.start_ns, rows[87].end_ns)], "the whole span, which grew"
    assert sent() == []


def test_a_loss_waits_for_a_willing_cloud(tmp_path: Path) -> None:
    """Also over a start of the gateway, without holding rows back."""

    def sent(takes: bool) -> list[tuple[int, str]]:
        rows = LedgerRows(ledger := Ledger(tmp_path, "1", 24.0, 3000.0), frozenset({"10min"}), places)
        if takes:
            rows.withhold_losses(False)
        ledger.append(row(len(places), "10min", length_ns=600 * 10**9))
        ledger.flush()
        rows.read_ahead()
        found: list[tuple[int, str]] = []
        while (record := rows.take()) is not None:
            places.update(record.places)
            found += [(each.lost.rows, each.lost.kind) if each.lost else (0, "row") for each in record.rows]
        ledger.lost.store()
        return found

    places: dict[int, int] = {}
    lost = LostRows(tmp_path)
    lost.add([row(7, "10min"), row(8, "10min")])
    lost.store()
    assert sent(takes=False) == [(0, "row")]
    assert sorted(sent(takes=True)) == [(0, "row"), (2, "10min")]
    assert sent(takes=True) == [(0, "row")]


def test_earlier_holes_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the disk is full at the first start, and again at a later end."""

    def full(*_: object) -> int:
        raise FileNotWrittenError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def lose(*numbers: int) -> None:
        lost = LostRows(tmp_path)
        lost.reserve()
        lost.add(row(number) for number in numbers)
        lost.store()

    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        LostRows(tmp_path).reserve()
    LostRows(tmp_path).reserve()
    assert (tmp_path / "lost.room").stat().st_size == lost_rows.ROOM_BYTES
    lose(0)
    lose(500, 501)
    with monkeypatch.context() as disk:
        disk.setattr(lost_rows, "write_whole_file", full)
        lose(502)
        assert [each.rows for each in LostRows(tmp_path).spans] == [1, 3]
    room = (tmp_path / "lost.room").read_bytes()
    lose(503, 504)
    for _ in range(2):
        assert [each.rows for each in LostRows(tmp_path).spans] == [1, 5]
        (tmp_path / "lost.room").write_bytes(room)  # a kill before it was emptied
    lose(-1000)  # measured late
    assert [each.rows for each in LostRows(tmp_path).spans] == [1, 5, 1]


def half_row(number: int) -> Values:
    """A window of a dip; whole single-precision numbers, as they are kept."""
    at_s = tuple(place / 128 for place in range(24))
    told = {"urms_v": tuple(60.0 + number % 7 + place / 4 for place in range(24)), "at_s": at_s}
    start_ns = T0_NS + number * WINDOW_NS
    return Values("1", "half", start_ns, start_ns + WINDOW_NS, 1000, TimeSource.GPS, True, told)


def test_half_cycles_are_bounded_and_counted(tmp_path: Path) -> None:
    ledger, counters, writer = Ledger(tmp_path, "1", 24.0, 30.0, 60_000), BoxCounters(), LedgerWriter()
    writer.add(counters, ledger, BoxStatus("1", 10))
    for hour in range(10):
        for number in range(40):
            ledger.append(half_row(hour * 18_000 + number))
        writer.write()
        assert sum(path.stat().st_size for path in tmp_path.glob("*.led")) <= 60_000
    sizes = [path.stat().st_size for path in tmp_path.glob("*.led")]
    first = 10 - len(sizes)
    kept = list(ledger.read("half", 0, 2**62))
    assert kept == [half_row(hour * 18_000 + number) for hour in range(first, 10) for number in range(40)]
    assert 2 <= len(sizes) <= 8 and counters["half_cycles_deleted"] == first * sizes[0]


def test_half_cycles_last_days_that_had_any(tmp_path: Path) -> None:
    """Days without half cycles do not count."""
    ledger = Ledger(tmp_path, "1", 24.0, 3.0)
    for day in range(8):
        ledger.append(half_row(day * 432_000))
        ledger.flush()
    kept = [each.start_ns for each in ledger.read("half", 0, 2**62)]
    assert kept == [half_row(day * 432_000).start_ns for day in range(3, 8)]  # three, begun and to be ended
    assert ledger.deleted_bytes > 0


def test_an_answer_has_half_cycles_or_extremes(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "1", 24.0, 30.0)
    for number in range(1000):
        ledger.append(half_row(number))
    ledger.flush()
    short = read_half_cycles(lambda: ledger, "1", (T0_NS, T0_NS + 10 * 10**9))
    assert short.every == 1 and len(short.t_ns) == 50 * 24 and short.uncertainty_ns == 1000
    assert short.t_ns[1] - short.t_ns[0] == 10**9 // 128 and short.least_v[1] == 60.25
    whole = read_half_cycles(lambda: ledger, "1", (T0_NS, T0_NS + 10**13))
    assert whole.every == 2 and len(whole.t_ns) == 12_000
    assert (whole.least_v.min(), whole.most_v.max()) == (60.0, 60.0 + 6 + 23 / 4)
    assert half_cycles_from_wire("1", half_cycles_to_wire(whole)).least_v.tolist() == whole.least_v.tolist()
    nothing = read_half_cycles(lambda: ledger, "1", (0, 10**9))
    assert not len(nothing.t_ns) and nothing.source is TimeSource.FREE


def test_equal_half_cycles_keep_the_better_clock(
    tmp_path: Path,
) -> None:
    """A dip under a free clock that is ahead, then another one with the same times by GPS."""

    def dip(first: int, count: int, source: TimeSource, rms_v: float) -> list[Values]:
        uncertainty_ns = 200 if source is TimeSource.GPS else UNKNOWN_UNCERTAINTY_NS
        rows = [half_row(number) for number in range(first, first + count)]
        for each in rows:
            each.source, each.uncertainty_ns = source, uncertainty_ns
            each.values = {**each.values, "urms_v": (rms_v,) * 24}
        return rows

    ledger = Ledger(tmp_path, "1", 24.0, 30.0)
    by_gps = dip(12, 6, TimeSource.GPS, 90.0)
    for each in dip(10, 5, TimeSource.FREE, 60.0) + by_gps + dip(14, 2, TimeSource.FREE, 70.0):
        ledger.append(each)
    ledger.flush()
    whole = (T0_NS, T0_NS + 100 * WINDOW_NS)
    found = read_half_cycles(lambda: ledger, "1", whole)
    assert found.least_v.tolist() == [60.0] * 48 + [90.0] * 144
    assert sorted(set(found.t_ns.tolist())) == found.t_ns.tolist() and found.source is TimeSource.FREE
    only = read_half_cycles(lambda: ledger, "1", (by_gps[0].start_ns, by_gps[-1].end_ns))
    assert only.source is TimeSource.GPS and only.uncertainty_ns == 200
    for each in dip(9, 4, TimeSource.GPS, 80.0):
        ledger.append(each)
    ledger.flush()
    again = read_half_cycles(lambda: ledger, "1", whole)
    assert again.least_v.tolist() == [80.0] * 96 + [90.0] * 120
