"""Rules in the gateway's process: what a Box measures flows through a rule; what it asks for goes up."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import zmq
from engine_token import token_auth
from free_ports import free_endpoint, free_port
from waiting import wait_for

from opq_gateway.config import load
from opq_gateway.measuring.feed import DisturbanceNotice, Values
from opq_gateway.rules.gateway_streams import rows_of
from opq_gateway.rules.wave_publisher import WavePublisher
from opq_proto.errors import ConfigError
from opq_proto.measurement.wire import measurement_from_wire
from opq_proto.messages import Measurement, TimeSource
from opq_rules.feeds.local_feed import LocalFeed
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

STREAM = 'CREATE STREAM boxes () WITH (DATASOURCE="*", TYPE="opqbox", SHARED="true")'
SQL = "SELECT box, start_ms, end_ms, rms FROM boxes WHERE kind = 'window' AND rms > 10"
BOX = '[[box]]\nid = "1"\nport = "{port}"\n'


def asked(makai: Any, seconds: float = 240) -> Measurement:
    """The first Measurement with a rule's metric."""

    def found() -> list[Measurement]:
        read = [measurement_from_wire(body) for _, body in list(makai.measurements)]
        return [each for each in read if any(key.startswith("rule_") for key in each.metrics)]

    return wait_for(found, seconds)[0]


def test_a_gateways_windows_refuse_zmtp_1() -> None:
    """The bytes of a page's request, and those of an older ZeroMQ."""
    endpoint, waves = free_endpoint(), LocalFeed[Any]("waves")
    with closing(WavePublisher(endpoint, waves)) as windows, zmq.Context() as context:
        with context.socket(zmq.SUB) as honest:
            honest.subscribe(b"")
            honest.connect(endpoint)

            def heard() -> bool:
                waves.offer(SimpleNamespace(frames=lambda: [b"samples"]))
                windows.send()
                return bool(honest.poll(20))

            wait_for(heard)
        for sent in (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x01\x00\x02\x00\x01"):
            host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
            with socket.create_connection((host, int(port)), timeout=240) as page, suppress(ConnectionError):
                page.sendall(sent)
                while page.recv(100):
                    pass

        def counted() -> bool:
            windows.send()
            return windows.refused == 2

        wait_for(counted)


@pytest.mark.timeout(600)
def test_an_edge_rule_asks_makai_by_crossing(tmp_path: Path, makai: Any) -> None:
    port, waves = free_port(), free_endpoint()
    with BoxHost([Box("1")]) as host, (tmp_path / "log").open("wb") as log:
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n'
            + BOX.format(port=host.ports["1"])
            + '[uplink]\ncrossings = "always"\n'
            + "".join(f'{name} = "{endpoint}"\n' for name, endpoint in makai.endpoints.items())
            + f'[rules]\nenabled = true\nendpoint = "127.0.0.1:{port}"\n'
            + f'windows_endpoint = "{waves}"\n'
        )
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        with subprocess.Popen(command, stdout=log, stderr=log) as gateway:
            try:
                url, auth = f"http://127.0.0.1:{port}", token_auth(tmp_path / "gateway")
                with httpx.Client(
                    base_url=url, timeout=240, trust_env=False, verify=False, auth=auth
                ) as rest:
                    wait_for(lambda: _answers(rest, gateway))
                    assert rest.post("/streams", json={"sql": STREAM}).status_code == 201
                    actions = [{"request_waveform": {"value": "rms"}}]
                    rule = {"id": "edge", "sql": SQL, "actions": actions}
                    assert rest.post("/rules", json=rule).status_code == 201
                    found = asked(makai)
                    volts_seen(rest, tmp_path / "log", waves)
                    elsewhere = {**rule, "id": "elsewhere", "sql": SQL.replace("box,", "9 AS box,")}
                    assert rest.post("/rules", json=elsewhere).status_code == 201
                    wait_for(lambda: "Box 9 is not connected" in rest.get("/rules/elsewhere/status").text)
            finally:
                gateway.send_signal(signal.SIGTERM)
                assert gateway.wait(240) == 0, (tmp_path / "log").read_text()
    assert list(found.metrics) == ["rule_edge"]
    assert found.crossing and found.box_id == "1" and found.sequence is not None
    assert 100e6 < found.end_ns - found.start_ns < 300e6, "a window of 10/12 cycles"
    assert 50 < found.metrics["rule_edge"].average < 300
    assert "Traceback" not in (tmp_path / "log").read_text()


def volts_seen(rest: httpx.Client, log: Path, waves: str) -> None:
    """Raw samples reach rules in the gateway, and over the socket."""
    for name, url in (("here", {}), ("there", {"url": waves})):
        rest.put(f"/metadata/sources/opqwave/confKeys/{name}", json={"unit": "volts", **url})
        stream = f'CREATE STREAM {name} () WITH (DATASOURCE="1", TYPE="opqwave", CONF_KEY="{name}")'
        made = rest.post("/streams", json={"sql": stream})
        assert made.status_code == 201, made.text
        sql = f"SELECT rms(samples) AS volts FROM {name}"
        made = rest.post("/rules", json={"id": f"volts-{name}", "sql": sql, "actions": [{"log": {}}]})
        assert made.status_code == 201, made.text

    def told() -> bool:
        lines = [
            line for line in log.read_text().splitlines() if '"rule.emitted"' in line and line[-1] == "}"
        ]
        found = [json.loads(line) for line in lines]
        by = {each["row_id"].partition(":")[0]: each["rows"][0]["volts"] for each in found}
        return by.keys() >= {"volts-here", "volts-there"} and all(50 < volts < 300 for volts in by.values())

    wait_for(told)


def _answers(rest: httpx.Client, gateway: "subprocess.Popen[bytes]") -> bool:
    assert gateway.poll() is None
    try:
        return rest.get("/ping").status_code == 200
    except httpx.TransportError:
        return False


def test_a_row_has_makais_names_and_its_own() -> None:
    clock = 400, TimeSource.GPS
    window = Values(
        "1",
        "window",
        10**18,
        10**18 + 2 * 10**8,
        *clock,
        False,
        {"rms_v": 119.5, "urms_min_v": 80.0, "harmonics_v": (2.0, 1.0)},
    )
    began = DisturbanceNotice("1", "dip", 10**18 + 999_999, *clock, True, None)
    assert rows_of([window, began]) == [
        {
            "box": "1",
            "kind": "window",
            "uncertainty_ns": 400,
            "source": "gps",
            "timestamp_ms": 10**12 + 200,
            "end_ms": 10**12 + 200,
            "start_ms": 10**12,
            "flagged": False,
            "rms_v": 119.5,
            "rms": 119.5,
            "urms_min_v": 80.0,
            "rms_min": 80.0,
            "harmonics_v": [2.0, 1.0],
            "h2": 0.5,
        },
        {
            "box": "1",
            "kind": "dip",
            "uncertainty_ns": 400,
            "source": "gps",
            "timestamp_ms": 10**12,
            "entering": True,
        },
    ]


def test_disabled_rules_import_nothing(tmp_path: Path) -> None:
    code = "import sys, opq_gateway.gateway\nprint([m for m in sys.modules if m.startswith('opq_rules')])"
    assert _said(code) == "[]"
    blocked = "import sys\nsys.modules['uvicorn'] = None\nimport opq_gateway.rules.edge_rules"
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _said(blocked)
    assert "pip install 'opq-toolkit[gateway,rules]'" in failed.value.stderr


def _said(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    return done.stdout.strip()


def test_the_rules_address_follows_the_port_offset(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(BOX.format(port="/dev/null") + "[rules]\nenabled = true\n")
    assert load(config, port_offset=100).rules.endpoint == "127.0.0.1:9181"
    config.write_text(BOX.format(port="/dev/null") + "[rules]\nenable = true\n")
    with pytest.raises(ConfigError, match="enabled"):
        load(config)
