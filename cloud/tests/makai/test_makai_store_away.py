"""The store stops answering in mid-run: no waiting Measurement and no request is lost."""

import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from in_thread import in_thread
from store_cases import numbered

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.makai import triggering_service
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.measurements import measurement_writer
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.measurement.wire import measurement_from_wire


class AwayStore:
    """A real store that refuses every call while it is away."""

    def __init__(self, folder: Path) -> None:
        self.away = threading.Event()
        self.refused = 0
        self._store = open_store(None, folder)
        self.problem = self.numbers_problem = None

    def close(self) -> None:
        self._store.close()

    @property
    def people(self) -> Any:
        if self.away.is_set():
            raise StoreError("the database is away")
        return self._store.people

    def __getattr__(self, name: str) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            if self.away.is_set():
                self.refused += 1
                raise StoreError("the database is away")
            return getattr(self._store, name)(*values, **named)

        return call


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AwayStore]:
    opened = AwayStore(tmp_path / "store")
    yield opened
    opened.close()


def test_an_id_request_waits_for_the_store(makai: Any, store: AwayStore) -> None:
    """A request for an id during a failure of the store is answered afterwards."""
    names = ("answer_endpoint", "request_endpoint", "event_endpoint", "event_id_endpoint")
    config = EventConfig(**{name: makai.free_endpoint() for name in names})
    service = EventService(config, CloudContext(lambda: store))
    with makai.running(service):
        client = makai.peer().connect(zmq.REQ, config.event_id_endpoint)
        store.away.set()
        client.send(b"")
        makai.wait_for(lambda: service.counters.total("store_errors") > 2)
        assert not client.poll(0)
        store.away.clear()
        assert client.poll(240_000) and client.recv() == b"1"
        client.send(b"exit")
        assert client.poll(240_000) and client.recv() == b"2"


def test_measurements_wait_for_the_store(
    makai: Any, store: AwayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggering_service, "NOMINAL_REFRESH_S", 0.05)
    brokers = makai.brokers()
    config = TriggeringConfig(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    service = TriggeringService(config, CloudContext(lambda: store), Nominal(120.0, 60.0))
    now_ms = time.time_ns() // 1_000_000
    with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
        one = makai.box(brokers, "1")

        def heard() -> bool:
            one.pub.send_multipart(one.measurement(timestamp_ms=now_ms))
            return bool(service.counters.total("measurements_stored"))

        makai.wait_for(heard)
        store.away.set()
        sent = [one.measurement(timestamp_ms=now_ms + 1000 * k) for k in range(1, 6)]
        for frames in sent:
            one.pub.send_multipart(frames)
        makai.wait_for(lambda: service.counters.total("store_errors") > 5)

        def own() -> tuple[bool, str | None]:
            (part,) = (part for part in service.health() if part.name == "triggering-service")
            return part.ok, part.info

        makai.wait_for(lambda: own() == (False, "the database is away"))
        store.away.clear()
        times = {measurement_from_wire(frames[1]).timestamp_ms for frames in sent}
        makai.wait_for(
            lambda: times <= {row.timestamp_ms for row in store.measurements("1", now_ms, now_ms + 10_000)}
        )
        makai.wait_for(lambda: all(part.ok for part in service.health() if part.name == service.name))


def test_a_silent_store_is_reported_before_refusing(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurement_writer, "SLOW_STORE_S", 0.2)
    counters = ServiceCounters()
    with closing(open_store(None, tmp_path)) as store, closing(sqlite3.connect(tmp_path / "opq.db")) as other:
        writer = MeasurementWriter(store, TriggeringConfig(), counters, log.get(), lambda *_: None)
        other.execute("BEGIN IMMEDIATE")
        with in_thread(writer.run):
            writer.accept(numbered(1, 1, 1))
            makai.wait_for(
                lambda: re.fullmatch(r"the store has not answered for \d+ s", writer.problem or "")
            )
            other.execute("ROLLBACK")
            makai.wait_for(lambda: writer.problem is None and counters.total("measurements_stored") == 1)
    assert counters.total("store_errors") == 0, "it did not refuse"
