"""What the disk itself has: one ring or many, and a disk that cannot."""

import errno
import threading
from pathlib import Path

import pytest
from telling_blocks import blocks

from opq_gateway.counters import BoxCounters
from opq_gateway.ring import live, syncing
from opq_gateway.ring.ring import Ring
from opq_gateway.ring.syncing import Syncing, sync_file_system


def rings(folder: Path, count: int) -> tuple[dict[str, Ring], dict[str, BoxCounters]]:
    found = {str(number): Ring(folder / str(number), str(number), 0.02) for number in range(1, count + 1)}
    for ring in found.values():
        ring.append_all(blocks(0, 12_000 * 8))  # an ended file and a live one
    return found, {box_id: BoxCounters() for box_id in found}


def test_a_synced_ring_has_nothing_to_sync(tmp_path: Path) -> None:
    (ring,) = rings(tmp_path, 1)[0].values()
    assert ring.sync() and not ring.sync()
    ring.append_all(blocks(12_000 * 8, 12_000 * 8 + 200))
    assert ring.sync() and not ring.sync()
    ring.close()
    assert ring.sync() and not ring.sync()


def test_a_file_deleted_before_sync_is_fine(tmp_path: Path) -> None:
    (ring,) = rings(tmp_path, 1)[0].values()
    ring.close()
    for path in ring.folder.iterdir():
        path.unlink()
    assert ring.sync()


@pytest.mark.parametrize("count", [2, 6])
def test_many_rings_sync_by_file_system(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    found, counters = rings(tmp_path, count)
    asked: list[Path] = []
    monkeypatch.setattr(syncing, "sync_file_system", lambda folder: bool(asked.append(folder)) or True)
    work, stop = Syncing(found, counters, 0.01), threading.Event()
    thread = threading.Thread(target=work.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(240)
    assert not thread.is_alive()
    assert len(asked) >= 1 if count == 6 else not asked
    assert any(ring.sync() for ring in found.values()) == (count == 6)
    assert all(each["ring_lost_records"] == 0 for each in counters.values())


def test_a_failing_sync_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, counters = rings(tmp_path, 3)
    real, first = live.os.fdatasync, [True]

    def failing(fd: int) -> None:
        if first.pop() if first else False:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(live.os, "fdatasync", failing)
    Syncing(found, counters, 1.0).sync()
    assert [each["ring_sync_failed"] for each in counters.values()] == [1, 0, 0]
    assert not found["2"].sync() and not found["3"].sync()


def test_a_folders_file_system_is_synced(tmp_path: Path) -> None:
    assert sync_file_system(tmp_path)
    assert not sync_file_system(tmp_path / "absent")
