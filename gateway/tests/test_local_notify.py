"""What systemd is told, on a real socket; the watchdog starves when a thread hangs."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from opq_gateway.gateway import WATCHED
from opq_proto.kit.watchdog import FAILURE_S, Heartbeats, Notifier, Watchdog


class Manager:
    """systemd's side of the notify socket."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(0.01)

    def heard(self) -> list[str]:
        found = []
        try:
            while True:
                found.append(self._socket.recv(4096).decode())
        except TimeoutError:
            return found

    def close(self) -> None:
        self._socket.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def notifier(tmp_path: Path, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **more})


def test_what_is_reported_arrives_line_by_line(tmp_path: Path, manager: Manager) -> None:
    told = notifier(tmp_path)
    told.ready()
    told.status("2 Boxes well")
    told.status("2 Boxes well")
    told.status("one\nline")
    told.status("ä" * 5000)
    told.stopping()
    long = f"STATUS={'ä' * 500}"
    assert manager.heard() == ["READY=1", "STATUS=2 Boxes well", "STATUS=one", long, "STOPPING=1"]


def test_an_abstract_socket_is_one_too() -> None:
    name = f"opq-test-{os.getpid()}"
    manager = Manager(f"\0{name}")
    Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert manager.heard() == ["READY=1"]
    manager.close()


def test_without_a_manager_notification_does_nothing(tmp_path: Path) -> None:
    Notifier({}).ready()
    notifier(tmp_path).ready()
    assert not Notifier({}).listening and Notifier({}).watchdog_s is None


def test_the_watchdog_time_is_for_its_process() -> None:
    """It is used only if it is meant for this process."""
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 60.0
    assert Notifier({"WATCHDOG_USEC": "60000000"}).watchdog_s == 60.0
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "soon"}).watchdog_s is None


def test_a_hung_thread_starves_the_watchdog(tmp_path: Path, manager: Manager) -> None:
    """One that comes back feeds it again."""
    clock = Clock()
    heartbeats = Heartbeats(clock)
    reader, uplink = (heartbeats.beat(name, threading.Event()) for name in ("reader", "uplink"))
    dog = Watchdog(notifier(tmp_path, WATCHDOG_USEC="60000000"), heartbeats, WATCHED, lambda: "well")
    dog.feed()
    assert manager.heard() == ["STATUS=well", "WATCHDOG=1"]
    clock.now_s += 31
    uplink.is_set()
    dog.feed()
    assert manager.heard() == ["STATUS=hangs: reader"]
    reader.wait(0)
    dog.feed()
    assert manager.heard() == ["STATUS=well", "WATCHDOG=1"]
    assert heartbeats.ages_s() == {"reader": 0.0, "uplink": 0.0}


def test_a_repeatedly_failing_thread_is_not_alive() -> None:
    clock = Clock()
    heartbeats = Heartbeats(clock)
    beat = heartbeats.beat("measuring", threading.Event())
    for _ in range(31):
        clock.now_s += 1
        beat.is_set()
        beat.note_failure()
    assert heartbeats.late(25, {"measuring"}) == ("measuring",)
    clock.now_s += FAILURE_S
    assert not beat.is_set() and heartbeats.late(25, {"measuring"}) == ()


def test_a_beat_is_its_stop_event() -> None:
    stop = threading.Event()
    beat = Heartbeats().beat("x", stop)
    assert not beat.is_set() and not beat.wait(0.001)
    stop.set()
    assert beat.is_set() and beat.wait(240)


def test_a_threads_loop_beats_until_stopped(tmp_path: Path, manager: Manager) -> None:
    stop = threading.Event()
    heartbeats = Heartbeats()
    dog = Watchdog(notifier(tmp_path, WATCHDOG_USEC="40000"), heartbeats, WATCHED, lambda: "well")
    thread = threading.Thread(target=dog.run, args=(heartbeats.beat("watchdog", stop),))
    thread.start()
    heard: list[str] = []
    while heard.count("WATCHDOG=1") < 3:
        heard += manager.heard()
    stop.set()
    thread.join(240)
    assert not thread.is_alive()
