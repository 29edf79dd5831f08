"""REST under senders that are slow, many, or want what never ends: over real sockets."""

import asyncio
import http.client
import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_house import House
from waiting import wait_for

from opq_rules.api import marks, patience, queries, trial_process

HEADER = b"POST /streams HTTP/1.1\r\nHost: localhost\r\n"
PING = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert made.stop() == []


def connected(house: House, sent: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", house.service.port), timeout=20)
    made.sendall(sent)
    return made


def answered(one: socket.socket) -> bytes:
    """All until the other side closes."""
    found = b""
    try:
        while more := one.recv(4096):
            found += more
    except ConnectionResetError:
        pass
    return found


def counted(house: House, name: str) -> float:
    lines = house.ask("GET", "/metrics").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"opq_rules_rest_{name}_total ")))


def test_half_a_header_or_body_is_not_waited_for_long(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "HEADER_S", 0.2)
    monkeypatch.setattr(patience, "BODY_S", 0.4)
    with ExitStack() as open_ones:
        slow = [
            open_ones.enter_context(connected(house, sent))
            for sent in (b"", b"GET /", HEADER, HEADER + b"Content-Length: 100\r\n\r\n{")
        ]
        for one in slow:
            assert answered(one).startswith(b"HTTP/1.1 408 ")
        again = open_ones.enter_context(connected(house, PING + b"GET /"))
        told = answered(again)
        assert told.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in told
    assert counted(house, "cut") == 5


def test_a_body_that_comes_steadily_is_taken(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BODY_S", 0.3)
    monkeypatch.setattr(patience, "BODY_BYTES_PER_S", 100)
    body = b'{"sql": "SHOW STREAMS"}' + b" " * 2000
    with connected(house, HEADER + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)) as one:
        for k in range(0, len(body), 400):
            one.sendall(body[k : k + 400])
        assert answered(one).startswith(b"HTTP/1.1 200 ")
    assert counted(house, "cut") == 0


@pytest.mark.parametrize("half", [b"GET /", HEADER + b"Content-Length: 100\r\n\r\n{"])
def test_who_asks_properly_is_heard_among_many_that_wait(
    house: House, monkeypatch: pytest.MonkeyPatch, half: bytes
) -> None:
    monkeypatch.setattr(patience, "MOST_CONNECTIONS", 20)
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(connected(house, half)) for _ in range(60)]
        wait_for(lambda: counted(house, "pushed_out") >= 40)
        asking = http.client.HTTPConnection("127.0.0.1", house.service.port, timeout=20)
        asking.request("GET", "/ping")
        assert asking.getresponse().status == 200
        asking.close()
        wait_for(lambda: len(select.select(slow, [], [], 0)[0]) >= 40)  # accepted in whatever order


def test_refused_requests_are_counted(house: House) -> None:
    assert house.http.get("/rules", headers={"Origin": "http://evil.example"}).status_code == 403
    assert counted(house, "refused") == 1


def test_a_body_of_countless_lists_is_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MOST_MARKS", 2_000)
    rule = {"id": "r", "sql": "SELECT 1 AS v FROM nothing", "actions": [[]] * 990}
    assert house.ask("POST", "/rules/validate", rule, 422)["error"] == 4000
    for path in ("/rules", "/rules/validate", "/data/import", "/batch/req"):
        told = house.ask("POST", path, {**rule, "actions": [[]] * 1_000}, 413)
        assert told == {"error": 5000, "message": marks.told()}
    assert counted(house, "refused") == 4
    within = json.dumps([[]] * 1_001)
    (told,) = house.ask("POST", "/batch/req", [{"method": "POST", "path": "/rules", "body": within}])
    assert told == {"code": 413, "response": marks.told()}
    assert house.ask("POST", "/ruleset/import", {"content": within}, 413)["message"] == marks.told()
    text = "{{.v}} [" * 1_000  # in a text they are none
    rule = {"id": "r", "sql": "SELECT 1 AS v FROM nothing", "actions": [{"log": {"dataTemplate": text}}]}
    assert "nothing" in house.ask("POST", "/rules/validate", rule, 422)["message"]
    assert house.ask("POST", "/config/uploads", {"name": "x", "content": within}, 201)
    form = {"uploadFile": ("x.zip", b"[" * 10_000)}
    assert house.http.post("/config/uploads", files=form).status_code == 201


@given(
    st.recursive(
        st.none() | st.integers() | st.text('a[{,"\\\n', max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text('k[,"\\', max_size=4), inner, max_size=4)
        ),
    ),
    st.lists(st.integers(1, 7), min_size=1, max_size=9),
)
def test_marks_are_those_outside_texts_however_a_body_comes(value: Any, sizes: list[int]) -> None:
    body = json.dumps(value).encode()
    found, at = marks.Marks(), 0
    for size in cycle(sizes):
        found.take(body[at : at + size])
        at += size
        if at >= len(body):
            break
    assert found.found == commas_and_openings(value)
    wide = marks.Marks()  # its texts are not told from the rest, and nothing is left out
    wide.take(json.dumps(value).encode("utf-16"))
    assert wide.found >= found.found


def commas_and_openings(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    inner = value if isinstance(value, list) else list(value.values())
    return 1 + max(0, len(inner) - 1) + sum(map(commas_and_openings, inner))


def test_queries_that_are_quiet_hold_nobody_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_PING_S", 60.0)
    house.ask("POST", "/streams", {"sql": 'CREATE STREAM d () WITH (TYPE="memory", DATASOURCE="d")'}, 201)
    query = b'{"sql": "SELECT * FROM d"}'
    head = b"POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(query)
    with ExitStack() as open_ones:
        listening = [open_ones.enter_context(connected(house, head + query)) for _ in range(45)]
        for each in listening:
            while b": begun" not in each.recv(4096):
                pass
        assert len(house.ask("GET", "/rules")) == 45
        house.service.engine.topics.publish("d", [{"v": 1}])
        for each in listening:
            while b'data: {"v":1}' not in each.recv(4096):
                pass
    wait_for(lambda: house.ask("GET", "/rules") == [])


def test_a_query_whose_client_is_slow_is_told_what_it_misses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MOST_WAITING", 3)
    rows = queries._Rows()
    rows.heard("d", [{"v": k} for k in range(5)])

    async def told(count: int) -> list[str]:
        events = rows.told()
        return [await anext(events) for _ in range(count)]

    assert asyncio.run(told(3)) == [
        ": begun\n\n",
        ": 2 rows were dropped so far\n\n",
        'data: {"v":2}\n\ndata: {"v":3}\n\ndata: {"v":4}\n\n',
    ]


def test_a_trial_without_end_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_process, "WALL_S", 1.5)
    house.ask("POST", "/streams", {"sql": 'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="x")'}, 201)
    trial = {
        "id": "t",
        "sql": "SELECT count(*) AS n FROM demo GROUP BY TUMBLINGWINDOW(ms, 1)",
        "mockSource": {"demo": {"data": [{"v": 1}] * 100, "interval": 3_600_000}},
        "options": {"sendEmptyWindow": True},
    }
    assert "took more than" in house.ask("POST", "/ruletest/run", trial, 400)["message"]
    house.ask("POST", "/ruletest", trial)
    house.ask("POST", "/ruletest/t/start")
    assert "took more than" in house.ask("GET", "/test/t")
    assert house.ask("GET", "/rules") == []


def test_a_trial_has_so_many_records(house: House) -> None:
    looped = {f"s{k}": {"data": [{}], "loop": True} for k in range(1000)}
    for path in ("/ruletest/run", "/ruletest"):
        told = house.ask("POST", path, {"sql": "SELECT 1 AS v FROM s1", "mockSource": looped}, 400)
        assert "at most 200000 records" in told["message"]


def test_a_trial_has_so_much_to_say_and_no_more(house: House) -> None:
    house.ask("POST", "/streams", {"sql": 'CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="x")'}, 201)
    trial = {
        "sql": "SELECT concat(v, v, v, v) AS w FROM demo",
        "mockSource": {"demo": {"data": [{"v": "x" * 1_000_000}] * 5}},
    }
    assert "MiB" in house.ask("POST", "/ruletest/run", trial, 400)["message"]
