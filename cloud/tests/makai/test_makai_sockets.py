"""Services that meet at Unix sockets of the data folder: their addresses, and limits of peers there."""

import socket as unix
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from free_ports import free_port

from opq_cloud.core.backend import peers as backend_peers
from opq_cloud.core.backend.addresses import (
    BOUND,
    CONNECTED,
    in_clear,
    make_missing_keys,
    missing_backend_keys,
    placed,
)
from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.backend.sockets import connect
from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import BackendKeysSection, CloudConfig
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.errors import PortBusyError
from opq_proto.keys.backend_keys import BackendKeyFolder

KEY = "triggering_broker.backend_endpoint"


def addresses(config: CloudConfig) -> dict[str, str]:
    return {
        f"{section}.{key}": getattr(getattr(config, section), key)
        for table in (BOUND, CONNECTED)
        for section, keys in table.items()
        for key in keys
    }


def test_services_meet_in_the_data_folder() -> None:
    """All but 9777, which only plug-ins of the original use and which gives numbers alone."""
    found = addresses(placed(CloudConfig(), Path("/d")))
    assert found.pop("mauka.incident_id_endpoint") == "tcp://127.0.0.1:9777"
    assert all(each.startswith("ipc:///d/sockets/") for each in found.values())


def test_who_connects_follows_who_binds() -> None:
    stated = TriggeringBrokerSection(backend_endpoint="tcp://*:7000?curve=/k&name=x")
    config = replace(CloudConfig(), triggering_broker=stated)
    config = replace(config, view=replace(config.view, measurement_endpoint="tcp://elsewhere:7000"))
    found = placed(config, Path("/d"))
    assert found.triggering_broker.backend_endpoint == stated.backend_endpoint
    assert found.mauka.measurement_endpoint == "tcp://127.0.0.1:7000?curve=/k&name=x"
    assert found.triggering_service.measurement_endpoint == found.mauka.measurement_endpoint
    assert found.view.measurement_endpoint == "tcp://elsewhere:7000", "it is stated"
    assert found.view.bus_endpoint == "ipc:///d/sockets/bus-out"


def test_a_file_of_the_original_means_its_ports(tmp_path: Path) -> None:
    path = tmp_path / "triggering_broker.json"
    path.write_text('{"interface": "tcp://*:9880", "backend": "tcp://*:7000"}')
    found = addresses(placed(read_config([path], notify=lambda notice: None), tmp_path))
    assert found["triggering_broker.backend_endpoint"] == "tcp://*:7000"
    assert found["view.measurement_endpoint"] == "tcp://127.0.0.1:7000"
    assert found["view.bus_endpoint"] == "tcp://127.0.0.1:9883"
    assert all(each.startswith("tcp://") for each in found.values())


def test_keys_are_made_for_addresses_beyond_loopback(makai: Any, tmp_path: Path) -> None:
    """Who has none is refused, and our services connect with theirs."""
    brokers, port = makai.brokers(), free_port()
    own = replace(brokers.triggering_config, backend_endpoint=f"tcp://*:{port}")
    stated = replace(CloudConfig(), triggering_broker=own)
    config = placed(stated, tmp_path)
    make_missing_keys(config, tmp_path)
    assert in_clear("all", config) is None and not list(missing_backend_keys("all", config))
    broker = TriggeringBroker(config.triggering_broker, brokers.keys)
    with makai.running(broker), zmq.Context() as context:
        clear, ours = (context.socket(zmq.SUB) for _ in range(2))
        for each in (clear, ours):
            each.linger = 0
            each.subscribe(b"")
        clear.connect(f"tcp://127.0.0.1:{port}")
        connect(ours, config.view.measurement_endpoint, "view.measurement_endpoint")
        box = makai.box(brokers, "1")

        def heard() -> bool:
            box.pub.send_multipart(box.measurement())
            return bool(ours.poll(20))

        makai.wait_for(heard)
        assert not clear.poll(0)
        makai.wait_for(lambda: broker.counters.of("backend_handshakes_failed", KEY))
        clear.close()
        ours.close()


def test_an_address_elsewhere_uses_keys_of_the_folder(tmp_path: Path) -> None:
    """View on another machine, before and after the keys are brought there."""
    there = "tcp://makai.example:9881"
    config = replace(CloudConfig(), view=replace(CloudConfig().view, measurement_endpoint=there))
    assert placed(config, tmp_path).view.measurement_endpoint == there
    make_missing_keys(placed(config, tmp_path), tmp_path)
    assert not (tmp_path / "backend").exists(), "it binds nothing beyond loopback"
    BackendKeyFolder(tmp_path / "backend").create(True, ["cloud"])
    assert placed(config, tmp_path).view.measurement_endpoint.startswith(f"{there}?curve={tmp_path}")
    refused = replace(config, backend_keys=BackendKeysSection(enabled=False))
    assert placed(refused, tmp_path).view.measurement_endpoint == there


def test_limits_hold_at_unix_sockets(makai: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Too many connections are ended there too, and a second broker does not replace the first."""
    monkeypatch.setattr(backend_peers, "MAX_CONNECTIONS", 3)
    counters, path = ServiceCounters(), tmp_path / "measurements"
    with ExitStack() as opened:
        fanout = opened.enter_context(closing(FanoutSocket(makai.peer().context, counters, 100)))
        fanout.bind(f"ipc://{path}", "test", "test.endpoint")
        second = opened.enter_context(closing(FanoutSocket(makai.peer().context, ServiceCounters(), 100)))
        with pytest.raises(PortBusyError, match="end the program that uses it, set test"):
            second.bind(f"ipc://{path}", "test", "test.endpoint")
        reading = makai.peer().connect(zmq.SUB, f"ipc://{path}")

        def subscribed() -> bool:
            fanout.read_subscriptions()
            return bool(counters.total("subscriptions"))

        makai.wait_for(subscribed)
        for _ in range(7):
            opened.enter_context(unix.socket(unix.AF_UNIX)).connect(str(path))

        def ended() -> bool:
            fanout.read_subscriptions()
            return bool(counters.of("backend_ended", "test.endpoint connections") == 5)

        makai.wait_for(ended)
        fanout.send([b"news"])
        assert reading.poll(240_000), "who came before is served"
