"""What a fleet holds on disk: numbers, kills, acknowledgements, bounds."""

from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from opq_proto.errors import OpqError
from opq_sim.fleet import log_segment
from opq_sim.fleet.held_log import HeldLog

IDS = ("1", "2", "30")
NOW_MS = 1_795_305_035_000


def log_in(folder: Path, **options) -> HeldLog:
    return HeldLog(folder, IDS, options.pop("now_ms", NOW_MS), **options)


def append(held: HeldLog, times: int, which=(0, 1, 2), size: int = 10) -> None:
    for _ in range(times):
        held.append(np.array(which), [f"{held.next[box]}".encode().ljust(size) for box in which])


def everything(held: HeldLog) -> list[tuple[int, int, str]]:
    ready = np.ones(len(IDS), bool)
    rows = held.rows(held.floor, held.next - 1, ready)
    return [(row.box, row.sequence, row.body.decode().strip()) for part in rows for row in part]


def test_numbers_and_bodies_survive_a_kill(tmp_path):
    held = log_in(tmp_path)
    append(held, 5)
    again = log_in(tmp_path, now_ms=NOW_MS + 99)  # the first was not closed
    assert again.next.tolist() == [NOW_MS + 5] * 3
    found = everything(again)
    assert len(found) == 15
    assert all(int(body) == sequence for _, sequence, body in found)


def test_a_row_without_its_body_is_left_out(tmp_path):
    held = log_in(tmp_path)
    append(held, 3, size=100)
    bodies = next(tmp_path.glob("*.bodies"))
    bodies.write_bytes(bodies.read_bytes()[:-50])
    rows = next(tmp_path.glob("*.rows"))
    rows.write_bytes(rows.read_bytes() + b"half a row")
    assert len(everything(log_in(tmp_path))) == 8


def test_an_acknowledged_segment_goes(tmp_path):
    held = log_in(tmp_path, segment_s=0.0)
    append(held, 2)
    held.tick(1e9)
    append(held, 1)
    for box in range(3):
        assert held.acknowledge(box, NOW_MS + 1)
        held.tick(2e9)
        assert (len(everything(held)), held.held) == (9 - 2 * (box + 1), 9 - 2 * (box + 1))
    assert len(list(tmp_path.glob("*.rows"))) == 2  # that of the last Measurements, and a new one
    held.close()
    assert log_in(tmp_path).floor.tolist() == [NOW_MS + 2] * 3


def test_an_unknown_acknowledgement_moves_a_new_box(tmp_path):
    held = log_in(tmp_path)
    assert held.acknowledge(0, NOW_MS + 1000)
    assert held.next[0] == held.floor[0] == NOW_MS + 1001
    assert not held.acknowledge(0, NOW_MS + 5000)
    assert held.next[0] == NOW_MS + 1001


def test_excess_drops_the_oldest_and_counts(tmp_path):
    held = log_in(tmp_path, segment_s=0.0, most_bytes=6000)
    held.acknowledge(0, NOW_MS - 1)
    for second in range(10):
        append(held, 1, size=500)
        held.tick(1e9 + second)
    assert held.file_bytes <= 6000
    assert held.expired > 0
    assert held.held == 30 - held.expired == len(everything(held))


def test_a_disk_that_takes_nothing_is_counted(tmp_path, monkeypatch):
    held = log_in(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr(held._segments[-1], "append", full)
    append(held, 2)
    assert held.failed == 6
    assert held.next.tolist() == [NOW_MS + 2] * 3  # they are sent once, with their numbers


def test_a_partial_write_keeps_earlier_data(tmp_path, monkeypatch):
    held = log_in(tmp_path)
    append(held, 2)

    def half(file: FileIO, data: bytes) -> None:
        file.write(data[: len(data) // 2])
        raise OSError(28, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(log_segment, "_write", half)
        append(held, 1, size=200)
    assert held.failed == 3
    append(held, 1)
    found = sorted(int(body) for _, _, body in everything(log_in(tmp_path)))
    assert found == [NOW_MS + after for after in (0, 0, 0, 1, 1, 1, 3, 3, 3)]


def test_a_file_as_folder_is_refused(tmp_path):
    path = tmp_path / "file"
    path.write_text("")
    with pytest.raises(OpqError, match="file"):
        log_in(path)
