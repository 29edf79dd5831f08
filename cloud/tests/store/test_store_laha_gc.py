"""LahaGcPlugin: what has expired goes on request, and the bus hears how much went, in both stores."""

import time
from typing import Any

import pytest

from opq_cloud.mauka.bus.bus_messages import GC_STAT, LAHA_GC, gc_update, new_message
from opq_cloud.mauka.bus_plugins.laha_gc import REPORT_S, TRIGGER_S, LahaGcPlugin
from opq_cloud.store import CloudStore
from opq_cloud.store.documents.retention import Ttls
from opq_proto.messages import Measurement, Metric
from opq_proto.wire.mauka_pb2 import EVENTS, INCIDENTS, MEASUREMENTS, PHENOMENA, TRENDS, MaukaMessage


def trigger(source: str = "somebody") -> MaukaMessage:
    message = new_message(source)
    message.laha.gc_trigger.gc_domains.extend([MEASUREMENTS, EVENTS])
    return message


class Bus:
    """The plug-in with a clock in hand; keeps what it published."""

    def __init__(self, store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.plugin = LahaGcPlugin({}, lambda: store, lambda: self.now_s, lambda: time.time() + 2 * 86_400)
        self.made: list[tuple[str, Any]] = []
        monkeypatch.setattr(self.plugin, "produce", lambda name, made: self.made.append((name, made.laha)))

    def idle_at(self, now_s: float) -> None:
        self.now_s = now_s
        while self.plugin.on_idle():
            pass

    def stats(self) -> list[tuple[int, int]]:
        return [(made.gc_stat.gc_domain, made.gc_stat.gc_cnt) for name, made in self.made if name == GC_STAT]


def expired_rows(store: CloudStore, count: int) -> None:
    """Puts Measurements whose time is over."""
    store.put_ttls(Ttls(measurements=1))
    old_ms = time.time_ns() // 10**6 - 3 * 86_400_000
    rows = [
        Measurement("1", old_ms + k * 1000, {"rms": Metric(119.0, 121.0, 120.0)}, sequence=k)
        for k in range(1, count + 1)
    ]
    store.append_measurements(rows)


def test_a_trigger_removes_and_counts_expired_data(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger removes what has expired and a stat says how much."""
    bus = Bus(store, monkeypatch)
    expired_rows(store, 30)
    for harmless in (trigger(LahaGcPlugin.NAME), gc_update(INCIDENTS, 7, "ThdPlugin")):
        bus.plugin.on_message(LAHA_GC, harmless)
    bus.idle_at(0.5)
    assert store.counts()["measurements"] == 30 and bus.made == []
    bus.plugin.on_message(LAHA_GC, trigger())
    bus.idle_at(1.0)
    assert store.counts()["measurements"] == 0
    assert bus.stats() == [(MEASUREMENTS, 30)]
    assert bus.plugin.counters.total("rows_expired") == 30
    bus.plugin.on_message(LAHA_GC, new_message("unknown"))
    assert bus.plugin.counters.total("malformed") == 1


def test_data_removed_by_retention_are_reported_once(
    store: CloudStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Bus(store, monkeypatch)
    expired_rows(store, 5)
    while store.expire(int(time.time()) + 2 * 86_400):
        pass
    bus.idle_at(REPORT_S)
    bus.idle_at(2 * REPORT_S)
    assert bus.stats() == [(MEASUREMENTS, 5)]


def test_a_trigger_is_published_each_minute(store: CloudStore, monkeypatch: pytest.MonkeyPatch) -> None:
    bus = Bus(store, monkeypatch)
    for second in range(0, 2 * int(TRIGGER_S) + 1, 10):
        bus.idle_at(float(second))
    assert [name for name, _ in bus.made] == [LAHA_GC, LAHA_GC]
    assert [*bus.made[0][1].gc_trigger.gc_domains] == [MEASUREMENTS, TRENDS, EVENTS, INCIDENTS, PHENOMENA]
