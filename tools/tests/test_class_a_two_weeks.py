"""Two weeks of a ledger go up from a real gateway, beside live Measurements: in order, once, bit for bit."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from class_a_system import BOX, ClassASystem, whole_rows
from house_under_test import until

from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_proto.errors import FrameError
from opq_proto.kit.service_sockets import FOLDER, connectable_path, in_data_dir
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement, TimeSource

TEN_NS, DAY_NS = 600 * 10**9, 86_400 * 10**9
MOST_BYTES_PER_S = 4.0
LIVE_ROWS = {1: 100, 14: 1500}
"""Days -> live Measurements that are seen after the intervals."""
NAMES = ("rms_v", "rms_min_v", "rms_max_v", "urms_min_v", "urms_max_v", "f_hz", "f_min_hz", "f_max_hz")
RATIOS = ("thd_ratio", "thd_max_ratio", "under_ratio", "over_ratio")


class Listener(threading.Thread):
    """Notes what the triggering broker passes on, with the time at which it came."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(daemon=True)
        self.live: list[tuple[int, int]] = []
        """When it came, and how long after its end, ns; not what was sent again."""
        self.intervals: list[tuple[int, int, Measurement]] = []
        """When, bytes of all frames, what it is; by the order of arrival."""
        self.connected = threading.Event()
        self._ended, self._endpoint = threading.Event(), endpoint

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.SUB) as socket:
            socket.linger = 0
            socket.subscribe(b"")
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            socket.connect(self._endpoint)
            while not self._ended.is_set() and not monitor.poll(100):
                pass
            socket.disable_monitor()
            monitor.close(linger=0)
            self.connected.set()
            while not self._ended.is_set():
                if socket.poll(100):
                    self._note(socket.recv_multipart())

    def _note(self, frames: list[bytes]) -> None:
        now_ns = time.time_ns()
        try:
            found = measurement_from_wire(frames[1])
        except FrameError:
            return
        if not found.is_window:
            self.intervals.append((now_ns, sum(map(len, frames)), found))
        elif not found.backfilled and found.end_ns is not None:
            self.live.append((now_ns, now_ns - found.end_ns))

    def end(self) -> None:
        self._ended.set()
        self.join()


def write_ledger(folder: Path, days: int) -> None:
    """Writes what a gateway has measured in the days before today."""
    rng = np.random.default_rng(61)
    first_ns = (time.time_ns() // DAY_NS - days) * DAY_NS
    ledger = Ledger(folder, BOX, 24.0, 30.0)

    def add(kind: str, at: int, length_ns: int, values: dict[str, float | tuple[float, ...]]) -> None:
        start_ns = first_ns + at * length_ns
        ledger.append(
            Values(BOX, kind, start_ns, start_ns + length_ns, 5, TimeSource.NTP, at % 9 == 0, values)
        )

    for at in range(days * 144):
        values: dict[str, float | tuple[float, ...]] = {
            **dict(zip(NAMES, (230 + rng.normal(size=len(NAMES))).tolist(), strict=True)),
            **dict(zip(RATIOS, rng.random(len(RATIOS)).tolist(), strict=True)),
            "coverage_ratio": 1.0 - at % 3 / 8,
            "harmonics_v": tuple(rng.random(50).tolist()),
            "interharmonics_v": tuple(rng.random(50).tolist()),
        }
        add("10min", at, TEN_NS, values)
        add("10min", at, TEN_NS, {"pst": 0.2 + rng.random(), "pinst_max": 1.0})
        if at % 12 == 11:
            add("2h", at // 12, 12 * TEN_NS, values)
            add("2h", at // 12, 12 * TEN_NS, {"plt": 0.3 + rng.random()})
        ledger.flush()


@contextmanager
def listening(system: ClassASystem) -> Iterator[Listener]:
    (system.data_dir / FOLDER).mkdir(mode=0o700)
    listener = Listener(connectable_path(in_data_dir("ipc://measurements", system.data_dir)))
    listener.start()
    try:
        yield listener
    finally:
        listener.end()


def percentiles_ms(delays: list[tuple[int, int]]) -> dict[str, float]:
    found = np.array([delay for _, delay in delays]) / 1e6
    return {f"p{share}": round(float(np.percentile(found, share)), 1) for share in (50, 95, 99)}


@pytest.mark.timeout(900)
@pytest.mark.slow  # gateway/tests/test_uplink_two_weeks.py always runs
@pytest.mark.parametrize("days", [1, 14])
def test_days_without_a_cloud_go_up_later(tmp_path: Path, days: int) -> None:
    system = ClassASystem(tmp_path, ("10min", "2h"), gateway={"measurement_cycles": 6})
    ledger = system.data_dir / "gateway" / f"box{BOX}" / "ledger"
    write_ledger(ledger, days)
    before = {kind: system.ledger(kind) for kind in ("10min", "2h")}
    rows = sum(map(len, before.values()))
    gateway = system.commands.pop("gateway")
    with listening(system) as listener, system:
        until(listener.connected.is_set, 60, "the broker is there")
        system.commands["gateway"] = gateway
        system.start("gateway")  # what it sends first would miss a listener that connects later
        until(lambda: len(listener.intervals) >= rows, 60 + rows / 10, f"{rows} intervals on the wire")
        last_ns = listener.intervals[-1][0]
        seen = len(listener.live)
        until(lambda: len(listener.live) >= seen + LIVE_ROWS[days], 60 * days, "live Measurements")
        for kind, parts in before.items():
            wanted = whole_rows(parts)
            assert system.stored(kind)[: len(wanted)] == wanted
    came = [(number, each) for number, (_, _, each) in enumerate(listener.intervals[:rows])]
    numbers = [each.sequence or 0 for _, each in came]
    assert numbers == sorted(set(numbers))
    for kind, length_ms in (("10min", 600_000), ("2h", 7_200_000)):
        starts = [
            each.start_ns
            for _, each in came
            if each.interval is not None and each.interval.length_ms == length_ms
        ]
        assert starts == [start_ns for start_ns, _ in before[kind]]
    size = sum(size for _, size, _ in listener.intervals[:rows])
    assert 1.0 < size / (days * 86_400) < MOST_BYTES_PER_S
    first_ns = listener.intervals[0][0]
    during = [each for each in listener.live if first_ns <= each[0] <= last_ns]
    after = [each for each in listener.live if each[0] > last_ns]
    assert len(during) > 100 and len(after) >= LIVE_ROWS[days]
    print(
        f"{rows} rows, {size / (days * 86_400):.2f} B/s, {rows / ((last_ns - first_ns) / 1e9):.1f} rows/s; "
        f"live while they go up {len(during)}: {percentiles_ms(during)}, "
        f"after {len(after)}: {percentiles_ms(after)} ms"
    )
