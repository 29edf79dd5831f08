"""REST under senders that are many, or want what never ends: over real sockets."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rules_house import House
from waiting import wait_for

from opq_rules.api import guard, queries, sets


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert made.stop() == []


def connected(house: House, sent: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", house.service.port), timeout=240)
    made.sendall(sent)
    return made


def counted(house: House, name: str) -> float:
    lines = house.ask("GET", "/metrics").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"opq_rules_rest_{name}_total ")))


def test_refused_requests_are_counted(house: House) -> None:
    assert house.http.get("/rules", headers={"Origin": "http://evil.example"}).status_code == 403
    assert counted(house, "refused") == 1


@pytest.mark.parametrize(
    "path", ["/rules", "/rules/validate", "/ruleset/import", "/batch/req", "/config/uploads"]
)
def test_a_body_has_4_mib(house: House, path: str) -> None:
    long = json.dumps({"name": "x", "content": " " * guard.MAX_JSON_BYTES}).encode()
    refused = house.http.post(path, content=long)
    assert refused.status_code == 413 and refused.json()["error"] == 5000
    assert "longer than 4194304 bytes" in refused.json()["message"]
    chunked = house.http.post(path, content=iter([long[:1_000_000], long[1_000_000:]]))
    assert chunked.status_code == 413
    assert counted(house, "refused") == 2
    form = {"uploadFile": ("x.zip", long)}
    assert house.http.post("/config/uploads", files=form).status_code == 201


def test_an_oversized_form_names_the_setting(house: House) -> None:
    head = f"POST /config/uploads HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {65 << 20}\r\n"
    with connected(house, f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode()) as sent:
        answer = b""
        while b"this limit" not in answer and (piece := sent.recv(4096)):
            answer += piece  # head and body may come one after the other
    assert answer.startswith(b"HTTP/1.1 413 ") and b"most_body_mb sets this limit" in answer


def test_a_set_that_was_uploaded_has_16_mib(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "MAX_FILE_BYTES", 100)
    form = {"uploadFile": ("set.json", b"{}" + b" " * 99)}
    place = house.http.post("/config/uploads", files=form).text
    assert (
        "longer than 100" in house.ask("POST", "/ruleset/import", {"file": f"file://{place}"}, 413)["message"]
    )


def test_queries_that_are_quiet_hold_nobody_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_PING_S", 60.0)
    house.ask("POST", "/streams", {"sql": 'CREATE STREAM d () WITH (TYPE="memory", DATASOURCE="d")'}, 201)
    query = b'{"sql": "SELECT * FROM d"}'
    head = (
        b"POST /query HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
        % (
            house.service.token.encode(),
            len(query),
        )
    )
    with ExitStack() as open_ones:
        listening = [open_ones.enter_context(connected(house, head + query)) for _ in range(45)]
        for each in listening:
            while b": begun" not in (received := each.recv(4096)):
                assert received, "it ended the connection"
        assert len(house.ask("GET", "/rules")) == 45
        house.service.engine.topics.publish("d", [{"v": 1}])
        for each in listening:
            while b'data: {"v":1}' not in (received := each.recv(4096)):
                assert received, "it ended the connection"
    wait_for(lambda: house.ask("GET", "/rules") == [])


def test_a_slow_queries_client_learns_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_WAITING", 3)
    rows = queries._Rows()
    rows.add_rows("d", [{"v": k} for k in range(5)])

    async def told(count: int) -> list[str]:
        events = rows.events()
        return [await anext(events) for _ in range(count)]

    assert asyncio.run(told(3)) == [
        ": begun\n\n",
        ": 2 rows were dropped so far\n\n",
        'data: {"v":2}\n\ndata: {"v":3}\n\ndata: {"v":4}\n\n',
    ]
