"""The live feed of View, and how the service begins and ends: a real server, store and sockets."""

import http.client
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import demo
import pytest
from in_thread import in_thread

from opq_cloud.core.service import CloudContext
from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store import open_store
from opq_cloud.view.live.route import HEARTBEAT_S
from opq_cloud.view.view_service import View
from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.messages import Incident


class _Live:
    """Reads `/live` the way a browser does."""

    def __init__(self, scene: demo.Scene, query: str = "", **headers: str) -> None:
        parts = urlsplit(scene.url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request("GET", f"/live{query}", headers=sent)
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.ids: list[str] = []

    def next(self, wanted: str) -> dict[str, Any]:
        """The next event of that name; a silence of a minute is an error."""
        name = ""
        while True:
            line = self._answer.readline().decode()
            assert line, "the feed ended"
            if line.startswith("event: "):
                name = line[7:].strip()
            elif line.startswith("id: "):
                self.ids.append(line[4:].strip())
            elif line.startswith("data: ") and name == wanted:
                found: dict[str, Any] = json.loads(line[6:])
                return found

    def line(self) -> str:
        return self._answer.readline().decode()

    def close(self) -> None:
        self._connection.close()


def _wait_until(condition: Any) -> None:
    limit = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.01)


def _publish_until_heard(scene: demo.Scene) -> None:
    """A PUB drops what it sends before its subscriber has joined."""
    before = scene.view.counters.total("measurements")
    t_ms = time.time_ns() // 1_000_000 - 60_000
    sent = itertools.count()

    def heard() -> bool:
        k = next(sent)
        scene.publish(demo.measurement_of(demo.OUTLETS[0], t_ms + k, k + 1))
        return scene.view.counters.total("measurements") > before

    _wait_until(heard)


def test_a_published_measurement_reaches_an_open_page(scene: demo.Scene) -> None:
    _publish_until_heard(scene)
    page = _Live(scene)
    page.next("measurement")
    sent = demo.measurement_of(demo.OUTLETS[2], time.time_ns() // 1_000_000, 77)
    scene.publish(sent)
    while (got := page.next("measurement"))["box_id"] != "4":
        pass  # one of those that were sent until View heard them
    assert got["timestamp_ms"] == sent.timestamp_ms
    assert got["rms_v"] == pytest.approx(sent.metrics["rms"].average, abs=1e-3)
    assert got["f_hz"] == pytest.approx(sent.metrics["f"].average, abs=1e-3)
    assert got["thd_percent"] == pytest.approx(sent.metrics["thd"].average * 100, abs=1e-3)
    page.close()


@pytest.fixture
def asleep(tmp_path: Path) -> Iterator[demo.Scene]:
    """It looks into the store once an hour: what comes sooner comes by a message."""
    scene = demo.Scene(tmp_path)
    object.__setattr__(scene.config, "poll_s", 3600.0)  # a minute at most by configuration
    with scene as running:
        yield running


def test_an_incident_appears_with_maukas_message(
    asleep: demo.Scene,
) -> None:
    """And again when a Box joins."""
    scene = asleep
    page = _Live(scene)
    now_ns = time.time_ns()
    wave = demo.waveform_of(demo.OUTLETS[0], now_ns)
    first_finding = demo.findings_in([wave])
    lags_ms = []
    _wait_until(lambda: _bus_is_joined(scene))
    stored = put_findings(scene.store, 1, first_finding)
    began = time.monotonic()
    scene.announce(stored[0].finding_id)
    got = page.next("incident")
    lags_ms.append((time.monotonic() - began) * 1000)
    assert {"id", "class", "box_ids", "start_ms", "end_ms", "residual_percent"} <= got.keys()
    assert (got["id"], got["class"], got["box_ids"]) == (stored[0].incident_id, "sag", ["1"])
    assert got["residual_percent"] == pytest.approx(102.22 / 1.2, rel=2e-3)

    joined = [replace(item, box_id="4") for item in first_finding]
    put_findings(scene.store, 1, joined)
    began = time.monotonic()
    scene.announce(2)
    got = page.next("incident")
    lags_ms.append((time.monotonic() - began) * 1000)
    assert (got["id"], got["box_ids"]) == (stored[0].incident_id, ["1", "4"])
    print(f"on the page after {lags_ms} ms")  # 100 at most on an idle machine
    page.close()


def _notice(incident_id: int, kind: str = "incident") -> str:
    return json.dumps({"kind": kind, "incident": {"id": incident_id}, "boxes": 1, "by": "analysis"})


def test_a_new_incident_overtakes_a_growing_one(asleep: demo.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new incident is read alone and at once while another one grows in a storm."""
    scene, looks = asleep, Counter[str]()
    page = _Live(scene)
    _wait_until(lambda: _bus_hears_notices(scene))
    made = demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)])
    grows = put_findings(scene.store, 1, made)[0].incident_id
    scene.publish_notice(_notice(grows))
    assert page.next("incident")["id"] == grows
    incidents_of, incidents = scene.store.incidents_of, scene.store.incidents

    def slow_where_it_grows(numbers: Sequence[int]) -> list[Incident]:
        looks["grown" if grows in numbers else "new"] += 1
        time.sleep(0.2 if grows in numbers else 0.0)
        return incidents_of(numbers)

    def whole(*bounds: Any, **more: Any) -> list[Incident]:
        looks["all"] += 1
        return incidents(*bounds, **more)

    monkeypatch.setattr(scene.store, "incidents_of", slow_where_it_grows)
    monkeypatch.setattr(scene.store, "incidents", whole)
    later = [replace(each, start_ns=each.start_ns + 10**13, end_ns=each.end_ns + 10**13) for each in made]
    new = put_findings(scene.store, 2, later)[0].incident_id
    began_s, told = time.monotonic(), 0
    while (spent_s := time.monotonic() - began_s) < 1.2 or not looks["grown"]:
        assert spent_s < 60, "a changed incident is not looked at"
        scene.publish_notice(_notice(grows, "incident_changed"))
        told += 1
        time.sleep(0.002)
    scene.publish_notice(_notice(new))
    assert page.next("incident")["id"] == new
    spent_s = time.monotonic() - began_s
    assert looks["new"] == 1 and looks["all"] == 0, "the newest are not looked at for one that is named"
    assert 1 <= looks["grown"] <= 1 + spent_s / 0.8, f"of {told} notices; a read and three times as long"
    page.close()


def test_a_withdrawn_incident_leaves_the_pages(asleep: demo.Scene) -> None:
    """Malformed messages are counted."""
    scene, page = asleep, _Live(asleep)
    _wait_until(lambda: _bus_hears_notices(scene))
    made = demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)])
    stored = put_findings(scene.store, 1, made)[0].incident_id
    ids = ('"x"', "1e999", str(2**70), "true")  # an exception would end the reader, and View with it
    named = [f'{{"incident": {{"id": {each}}}, "kind": "incident"}}' for each in ids]
    for nonsense in ("{", "[]", '{"incident": 7}', "[" * 100_000, *named):
        scene.publish_notice(nonsense)
    scene.publish_notice(_notice(stored))
    assert page.next("incident")["id"] == stored
    _wait_until(lambda: scene.view.counters.of("malformed", "bus") == 8)
    scene.publish_notice(_notice(stored, "incident_gone"))
    assert page.next("incident_gone") == {"id": stored}
    page.close()


def _bus_hears_notices(scene: demo.Scene) -> bool:
    """Of nothing: no look is due after it."""
    scene.publish_notice("")
    time.sleep(0.02)
    return scene.view.counters.total("bus_messages") > 0


def _bus_is_joined(scene: demo.Scene) -> bool:
    scene.announce(0)
    time.sleep(0.02)
    return scene.view.counters.total("bus_messages") > 0


def test_a_lost_message_is_found_in_store(tmp_path: Path) -> None:
    with demo.Scene(tmp_path, poll_s=0.2) as scene:
        page = _Live(scene)
        stored = put_findings(scene.store, 1, demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)]))
        assert page.next("incident")["id"] == stored[0].incident_id
        page.close()


def test_a_reconnected_page_gets_what_it_missed(tmp_path: Path) -> None:
    with demo.Scene(tmp_path, poll_s=0.1) as scene:
        page = _Live(scene)
        for k in range(3):
            wave = demo.waveform_of(demo.OUTLETS[0], (10**9 + k * 1000) * 10**9)
            put_findings(scene.store, k + 1, demo.findings_in([wave]))
        assert [page.next("incident")["id"] for _ in range(3)] == [1, 2, 3]
        page.close()
        back = _Live(scene, Last_Event_ID=page.ids[0])
        assert [back.next("incident")["id"] for _ in range(2)] == [2, 3]
        back.close()
        by_query = _Live(scene, query="?after=2")
        assert by_query.next("incident")["id"] == 3
        by_query.close()


def test_silence_is_kept_alive_by_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HEARTBEAT_S == 15.0
    monkeypatch.setattr("opq_cloud.view.app.create_app.__defaults__", (0.1,))
    with demo.Scene(tmp_path) as scene:
        page = _Live(scene)
        assert page.line().startswith("retry: ")
        while (line := page.line()) != ": nothing new\n":
            assert line, "the feed ended"  # the others are what the page gets first
        page.close()


def test_malformed_messages_are_counted_and_harm_nothing(scene: demo.Scene) -> None:
    _publish_until_heard(scene)
    for frames in ([b"0001", b"\xff\xff\xff"], [b"only one frame"], [b"a", b"b", b"c"], [b"", b""]):
        scene.publish_frames(frames)
    _wait_until(lambda: scene.view.counters.of("malformed", "measurement") >= 3)
    before = scene.view.counters.total("measurements")
    scene.publish(demo.measurement_of(demo.OUTLETS[0], time.time_ns() // 1_000_000, 9))
    _wait_until(lambda: scene.view.counters.total("measurements") > before)
    assert urlopen(scene.url, timeout=240).status == 200


@pytest.mark.parametrize("query", ["", "?values=*"])
def test_the_last_page_too_many_is_refused(tmp_path: Path, query: str) -> None:
    """It is asked to come back later."""
    few = demo.Scene(tmp_path, poll_s=30.0)
    few.view._config = replace(few.config, live_streams=4)
    with few as scene:
        pages = [_Live(scene, query) for _ in range(4)]
        _wait_until(lambda: scene.view.counters.of("clients_now", "") == 4)
        parts = urlsplit(scene.url)
        with closing(http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=240)) as extra:
            extra.request("GET", f"/live{query}")
            answer = extra.getresponse()
            assert (answer.status, answer.getheader("Retry-After")) == (503, "10")
            assert b"All 4 live feeds are taken ([view] live_streams)" in answer.read()
        assert scene.view.counters.total("clients_refused") == 1
        for page in pages:
            page.close()
        scene.publish(demo.measurement_of(demo.OUTLETS[0], time.time_ns() // 1_000_000, 1))
        _wait_until(lambda: scene.view.counters.of("clients_now", "") == 0)


@pytest.mark.parametrize("query", ["", "?values="])
def test_a_displaced_page_gets_the_reason(tmp_path: Path, query: str) -> None:
    """The oldest stream of whoever has most ends for a newcomer; its browser waits before it tries again."""
    few = demo.Scene(tmp_path, poll_s=30.0)
    few.view._config = replace(few.config, live_streams=3, sign_in="never")
    with few as scene:
        pages = []
        for count in (1, 2, 3):
            pages.append(_Live(scene, query))
            _wait_until(lambda count=count: scene.view.counters.of("clients_now", "") == count)
        newcomer = _Live(scene, query, X_Forwarded_For="192.0.2.7")
        assert newcomer.status == 200
        lines = list(iter(pages[0].line, ""))
        assert lines[-4:-2] == ["retry: 10000\n", "event: full\n"]
        assert (
            "made room for a visitor who has fewer" in json.loads(lines[-2].removeprefix("data: "))["reason"]
        )
        assert scene.view.counters.total("clients_displaced") == 1
        assert scene.view.counters.of("clients_now", "") == 3
        for page in (*pages, newcomer):
            page.close()


def test_a_page_gets_its_own_boxes(scene: demo.Scene) -> None:
    """The Boxes that it shows, and how many report."""
    _publish_until_heard(scene)
    page = _Live(scene, "?values=4")
    assert page.next("reporting") == {"reporting": 1}
    for sequence, outlet in enumerate((demo.OUTLETS[1], demo.OUTLETS[2])):
        scene.publish(demo.measurement_of(outlet, time.time_ns() // 1_000_000, 70 + sequence))
    assert page.next("measurement")["box_id"] == "4"
    page.close()
    both = _Live(scene, "?values=4&rate=1")
    assert both.status == 400
    both.close()


def test_view_ends_within_two_seconds_with_pages_open(tmp_path: Path) -> None:
    with demo.Scene(tmp_path) as scene:
        pages = [_Live(scene) for _ in range(5)]
        assert scene.stop() < 2.0
        assert not scene.alive()
        for page in pages:
            page.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("view")]


def test_a_busy_port_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        busy = demo.Scene(tmp_path, f"127.0.0.1:{port}")
        with pytest.raises(PortBusyError, match=f"port {port} .*--port-offset"):
            busy.__enter__()


def test_a_slow_store_delays_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest incidents of a store of years come when they are read."""
    scene, may_read = demo.Scene(tmp_path), threading.Event()
    put_findings(scene.store, 1, demo.findings_in([demo.waveform_of(demo.OUTLETS[0], 10**18)]))
    incidents = scene.store.incidents

    def slow(**wanted: int) -> list[Incident]:
        may_read.wait(240)
        return incidents(**wanted)

    monkeypatch.setattr(scene.store, "incidents", slow)
    scene.view.seeded_s = 0.0

    def page(path: str) -> str:
        with urlopen(f"{scene.url}{path}", timeout=240) as answer:
            return str(answer.read().decode())

    with scene, closing(_Live(scene, "?after=0")) as live:
        try:
            assert "#1" in page("/incidents") and 'data-after=""' in page("/incidents")
            assert all("The newest incidents are being read." in page(path) for path in ("/map", "/wall"))
        finally:
            may_read.set()
        assert live.next("incident")["id"] == 1
        _wait_until(lambda: "are being read" not in page("/wall"))


@pytest.mark.parametrize("key", ["measurement_endpoint", "bus_endpoint"])
def test_an_invalid_address_is_one_error(tmp_path: Path, key: str) -> None:
    store = open_store(None, tmp_path)
    config = demo.ViewSection(**{"http_endpoint": "127.0.0.1:0", key: "localhost:9883"})
    with pytest.raises(ConfigError, match=f"view.{key} is 'localhost:9883'"):
        View(config, CloudContext(lambda: store)).run(threading.Event())
    store.close()


def test_view_can_be_run_again_after_it_ended(tmp_path: Path) -> None:
    store = open_store(None, tmp_path)
    view = View(demo.ViewSection(http_endpoint="127.0.0.1:0"), CloudContext(lambda: store))
    for _ in range(2):
        with in_thread(view.run, until_ready=True), urlopen(f"{view.url}/map", timeout=240) as answer:
            assert answer.status == 200
    store.close()


def test_a_failed_feed_ends_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runner starts it again."""

    def broken(*_: object) -> None:
        time.sleep(0.3)
        raise ZeroDivisionError("the feed")

    monkeypatch.setattr("opq_cloud.view.live.reader.LiveReader.run", broken)
    store = open_store(None, tmp_path)
    view = View(demo.ViewSection(http_endpoint="127.0.0.1:0"), CloudContext(lambda: store))
    with pytest.raises(ZeroDivisionError, match="the feed"):
        view.run(threading.Event())
    store.close()
