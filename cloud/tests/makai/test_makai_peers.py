"""A service whose connection has no peer, or the wrong one, is not ok within 10 s, and names the address."""

import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import zmq
from free_ports import free_endpoint

from opq_cloud.core.backend import peer_watch
from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import service_context
from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import CloudContext, HealthReport
from opq_cloud.core.settings.makai_settings import EventServiceSection, TriggeringServiceSection
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal


def own(service: Any) -> HealthReport:
    return next(part for part in service.health() if part.name == service.name)


def refused(makai: Any, service: Any) -> str:
    """Its problem: after `peer_watch.WAITED_S`, and the time that this machine needs."""
    report = makai.wait_for(lambda: None if own(service).ok else own(service))
    return str(report.info)


def test_a_missing_peer_is_reported_within_ten_seconds() -> None:
    assert peer_watch.WAITED_S < 10.0


@pytest.fixture
def context(tmp_path: Path) -> Any:
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    with closing(shared):
        yield shared


def triggering(makai: Any, context: CloudContext, brokers: Any, **endpoints: str) -> TriggeringService:
    right = {
        "measurement_endpoint": brokers.triggering_config.backend_endpoint,
        "request_endpoint": brokers.acquisition_config.request_endpoint,
    }
    return TriggeringService(TriggeringServiceSection(**{**right, **endpoints}), context, Nominal(120, 60))


def test_commands_that_go_nowhere_are_not_ok(makai: Any, tmp_path: Path) -> None:
    brokers = makai.brokers()
    wrong = {
        free_endpoint(): "no service answers there",
        brokers.triggering_config.backend_endpoint: "another kind of socket",
        brokers.acquisition_config.answer_endpoint: "another kind of socket",
        brokers.acquisition_config.response_endpoint: "it refuses the connection",
    }
    with ExitStack() as stack:
        for broker in (brokers.triggering, brokers.acquisition):
            stack.enter_context(makai.running(broker))
        services = []
        for number, endpoint in enumerate(wrong):
            shared = CloudContext(lambda place=tmp_path / str(number): open_store(None, place))
            stack.enter_context(closing(shared))
            services.append(triggering(makai, shared, brokers, request_endpoint=endpoint))
            stack.enter_context(makai.running(services[-1]))
        for service, (endpoint, why) in zip(services, wrong.items(), strict=True):
            problem = refused(makai, service)
            assert f"triggering_service.request_endpoint {endpoint} (PUSH): {why}" in problem
            assert "measurement_endpoint" not in problem
            board = ServiceBoard()
            board.add(service).up = True
            assert not board.health("opq").ok


def test_both_swapped_addresses_are_named(makai: Any, context: CloudContext) -> None:
    brokers = makai.brokers()
    config = EventServiceSection(
        answer_endpoint=brokers.acquisition_config.request_endpoint,
        request_endpoint=brokers.acquisition_config.answer_endpoint,
        event_endpoint=free_endpoint(),
        event_id_endpoint=free_endpoint(),
    )
    service = EventService(config, context)
    with makai.running(brokers.acquisition), makai.running(service):
        problem = refused(makai, service)
        assert "event_service.answer_endpoint" in problem
        assert "event_service.request_endpoint" in problem


def test_a_returning_broker_makes_it_well(makai: Any, context: CloudContext) -> None:
    """Health is ok again when the broker is back."""
    brokers = makai.brokers()
    service = triggering(makai, context, brokers)
    with makai.running(brokers.triggering), makai.running(service):
        with makai.running(brokers.acquisition):
            makai.wait_for(lambda: service._connections._watches[1].has_met)
        assert "no service answers there" in refused(makai, service)
        with makai.running(brokers.acquisition):
            makai.wait_for(lambda: own(service).ok)


def test_an_unread_monitor_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long start is not a missing peer: what the monitor holds is read first."""
    with service_context() as context:
        listener, sender = context.socket(zmq.PULL), context.socket(zmq.PUSH)
        connections, endpoint = WatchedConnections(), free_endpoint()
        listener.bind(endpoint)
        connections.connect(sender, endpoint, "key")
        sender.send(b"")
        assert listener.recv() == b""
        now_s = time.monotonic() + 240
        monkeypatch.setattr("opq_cloud.core.backend.peer_watch.time.monotonic", lambda: now_s)
        connections.check()
        assert connections.problem is None
